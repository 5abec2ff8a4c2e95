"""The nearest rotation to a matrix by matrix products alone, for networks that leave torch.

What solves it elsewhere (RoMa) uses a linear solver, which ONNX does not have.
"""

import torch
from torch import Tensor

# torch 2.6 does not tell exporting from compiling.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)

# Squarings of Horn's matrix, and after how many its trace is made 1 again: 8 of a matrix of trace 1
# leave at least 4^-255, which float64 holds. After 24 the largest eigenvalue stands out by a factor
# of e^20 where it was larger than the next by 4e-6 of the matrix; where it was not, float32 entries
# say nothing of the rotation.
_SQUARINGS, _SQUARINGS_A_SCALING = 24, 8


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Nearest rotation (Frobenius norm) to a 3x3 matrix; never a reflection.

    The unit quaternion q of the rotation R with the largest tr(R^T M) = q^T N q is the eigenvector
    of the largest eigenvalue of Horn's matrix N, which is linear in M. Squaring N, moved to where
    it has no negative eigenvalues, again and again leaves the projection on this vector: no
    branch, no solver, no start, and a rounding error is amplified no more than one of M would be.

    Args:
        matrix: (..., 3, 3), entries of magnitude at most 1 or so. Where the answer is not unique
            (zero, some reflections), one of the nearest rotations.

    Returns:
        Rotation matrices, (..., 3, 3), computed in float64, of the type of the input.

    Source: Horn, Closed-form solution of absolute orientation using unit quaternions, JOSA A 4(4),
    1987; the power method by squaring: Wilkinson, The Algebraic Eigenvalue Problem, 1965, ch. 9.
    """
    wide = matrix.double().flatten(-2)
    horn, eye = _HORN.to(wide.device), torch.eye(4, dtype=wide.dtype, device=wide.device)
    length = wide.square().sum(dim=-1, keepdim=True).sqrt()
    wide = wide / length.clamp_min(torch.finfo(torch.float64).tiny)
    # Of a matrix of length 1, N has no eigenvalue below -sqrt(3).
    power = (wide @ horn).unflatten(-1, (4, 4)) + 3.0**0.5 * eye
    for count in range(_SQUARINGS):
        if count % _SQUARINGS_A_SCALING == 0:
            power = power / (power * eye).sum(dim=(-2, -1), keepdim=True)
        power = power @ power
    # Every column is a multiple of q; the longest has the smallest rounding errors.
    diagonal = (power * eye).sum(dim=-1)
    longest = torch.nn.functional.one_hot(diagonal.argmax(dim=-1), 4).to(power.dtype)
    q = (power / diagonal.amax(dim=-1)[..., None, None] * longest.unsqueeze(-2)).sum(dim=-1)
    square = q.unsqueeze(-1) * q.unsqueeze(-2) / q.square().sum(dim=-1)[..., None, None]
    # tr(R^T M) = <q q^T, N(M)> for all M: the transpose of the map takes q q^T to R.
    return (square.flatten(-2) @ horn.T).unflatten(-1, (3, 3)).to(matrix.dtype)


def _horn_map() -> Tensor:
    """From the 9 entries of M to the 16 of N, for quaternions wxyz, (9, 16)."""
    entries = torch.eye(9, dtype=torch.float64).unflatten(-1, (3, 3))
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in entries.unbind(-2))
    rows = (
        (xx + yy + zz, zy - yz, xz - zx, yx - xy),
        (zy - yz, xx - yy - zz, xy + yx, zx + xz),
        (xz - zx, xy + yx, yy - xx - zz, yz + zy),
        (yx - xy, zx + xz, yz + zy, zz - xx - yy),
    )
    return torch.stack([entry for row in rows for entry in row], dim=-1)


_HORN = _horn_map()
