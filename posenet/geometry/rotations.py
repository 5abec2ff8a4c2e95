"""Rotation representations: raw vectors a network can predict, and the rotations they stand for.

``REPRESENTATIONS`` is the table a configuration names a row of. Every ``rotation_from_*`` accepts
any finite vector, of any batch shape, and returns a rotation with a finite gradient.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import roma
import torch
from kornia.geometry.conversions import (
    quaternion_to_rotation_matrix as _unit_quaternion_to_rotation,
)
from kornia.geometry.conversions import rotation_matrix_to_quaternion as _rotation_to_quaternion
from torch import Tensor

from posenet.geometry.projection import is_exporting, nearest_rotation


def rotation_from_6d(vector: Tensor) -> Tensor:
    """Rotation whose first two columns are the Gram-Schmidt basis of two 3-vectors.

    Each 3-vector is first divided by its largest entry, so that 1e-25 and 1e20 do as well as 1, and
    the projection is done twice, which is enough for full precision. Where the two are parallel or
    zero, a fixed perpendicular direction stands in, with zero gradient.

    Args:
        vector: Two stacked 3-vectors (first column, second column), (..., 6).

    Returns:
        Rotation matrices, (..., 3, 3), orthonormal to rounding.

    Raises:
        ValueError: The last size is not 6.

    Source: Zhou et al., On the Continuity of Rotation Representations, CVPR 2019; "twice is
    enough": Giraud et al., Numerische Mathematik 2005.
    """
    _require_last_size(vector, 6)
    first, second = (_divide_by_largest(part) for part in vector.unflatten(-1, (2, 3)).unbind(-2))
    first = _normalise(first, fallback=first.new_tensor([1.0, 0.0, 0.0]), threshold=0.0)
    # The axis least aligned with the first column makes the best-conditioned perpendicular.
    smallest = torch.nn.functional.one_hot(first.detach().abs().argmin(dim=-1), 3).to(first.dtype)
    perpendicular = smallest - _dot(smallest, first.detach()) * first.detach()
    perpendicular = perpendicular / torch.linalg.vector_norm(perpendicular, dim=-1, keepdim=True)
    second = second - _dot(second, first) * first
    second = _normalise(second, perpendicular, threshold=4 * torch.finfo(second.dtype).eps)
    second = second - _dot(second, first) * first
    second = second / torch.linalg.vector_norm(second, dim=-1, keepdim=True)
    third = torch.linalg.cross(first, second, dim=-1)
    return torch.stack((first, second, third), dim=-1)


def rotation_to_6d(rotation: Tensor) -> Tensor:
    """First two columns of (..., 3, 3) rotations, stacked to (..., 6)."""
    return rotation[..., :, :2].transpose(-1, -2).flatten(-2)


def rotation_from_9d(vector: Tensor) -> Tensor:
    """Nearest rotation (Frobenius norm) to a 3x3 matrix given row by row; never a reflection.

    Args:
        vector: Matrix entries, (..., 9).

    Returns:
        Rotation matrices, (..., 3, 3).

    Raises:
        ValueError: The last size is not 9.

    Source: Levinson et al., An Analysis of SVD for Deep Rotation Estimation, NeurIPS 2020; solved
    by RoMa (Bregier, 3DV 2021), whose damped gradient is finite where the SVD's own is not. What is
    exported needs no gradient and may use no solver.
    """
    _require_last_size(vector, 9)
    if is_exporting():
        return nearest_rotation(_divide_by_largest(vector).unflatten(-1, (3, 3)))
    if torch.is_inference_mode_enabled() and not torch.compiler.is_compiling():
        _fill_cache_of_roma(vector.device)
    return roma.special_procrustes(_divide_by_largest(vector).unflatten(-1, (3, 3)))


@cache
def _fill_cache_of_roma(device: torch.device) -> None:
    """RoMa keeps a constant from its first call; one of inference mode would break any training."""
    with torch.inference_mode(False):
        roma.special_procrustes(torch.eye(3, device=device).unsqueeze(0))


def rotation_to_9d(rotation: Tensor) -> Tensor:
    """Entries of (..., 3, 3) rotations row by row, (..., 9)."""
    return rotation.flatten(-2)


def normalise_quaternion(quaternion: Tensor) -> Tensor:
    """Unit quaternion along any finite one; the zero quaternion becomes the identity.

    Args:
        quaternion: Quaternions wxyz, (..., 4).

    Returns:
        Unit quaternions, (..., 4).
    """
    _require_last_size(quaternion, 4)
    scaled = _divide_by_largest(quaternion)
    return _normalise(scaled, fallback=scaled.new_tensor([1.0, 0.0, 0.0, 0.0]), threshold=0.0)


def canonical_quaternion(quaternion: Tensor) -> Tensor:
    """The one of ``q`` and ``-q`` whose first nonzero entry is positive, (..., 4)."""
    first_nonzero = (quaternion != 0).to(torch.int8).argmax(dim=-1, keepdim=True)
    negative = quaternion.gather(-1, first_nonzero) < 0
    return torch.where(negative, -quaternion, quaternion)


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation of a quaternion of any nonzero length.

    Args:
        quaternion: Quaternions wxyz, (..., 4).

    Returns:
        Rotation matrices, (..., 3, 3).

    Raises:
        ValueError: The last size is not 4.
    """
    return _unit_quaternion_to_rotation(normalise_quaternion(quaternion))


def rotation_to_quaternion(rotation: Tensor) -> Tensor:
    """Canonical (w >= 0) unit quaternions wxyz, (..., 4), of (..., 3, 3) rotations."""
    # kornia divides by a clamped pivot; normalising once more removes its last rounding.
    return canonical_quaternion(normalise_quaternion(_rotation_to_quaternion(rotation)))


def rotation_from_rotvec(vector: Tensor) -> Tensor:
    """Rotation about the direction of a 3-vector by its length in radians.

    Args:
        vector: Rotation vectors, (..., 3).

    Returns:
        Rotation matrices, (..., 3, 3).

    Raises:
        ValueError: The last size is not 3.

    Source: Rodrigues' formula, as implemented by RoMa.
    """
    _require_last_size(vector, 3)
    # From 1/eps on, neighbouring floats are about a radian apart and squares may overflow.
    largest = 1.0 / torch.finfo(vector.dtype).eps
    return roma.rotvec_to_rotmat(vector.clamp(-largest, largest))


def rotation_to_rotvec(rotation: Tensor) -> Tensor:
    """Rotation vectors (..., 3) of length at most pi, of (..., 3, 3) rotations."""
    return roma.rotmat_to_rotvec(rotation)


def project_to_rotation(matrix: Tensor) -> Tensor:
    """Nearest rotation to a 3x3 matrix, for labels that are stored not quite orthonormal.

    Args:
        matrix: Matrices, (..., 3, 3).

    Returns:
        Rotation matrices, (..., 3, 3).
    """
    return rotation_from_9d(matrix.flatten(-2))


class RotationRepresentation(NamedTuple):
    """One way to write a rotation as numbers a network can predict."""

    size: int
    to_rotation: Callable[[Tensor], Tensor]
    from_rotation: Callable[[Tensor], Tensor]


REPRESENTATIONS: dict[str, RotationRepresentation] = {
    "quaternion": RotationRepresentation(4, rotation_from_quaternion, rotation_to_quaternion),
    "6d": RotationRepresentation(6, rotation_from_6d, rotation_to_6d),
    "9d": RotationRepresentation(9, rotation_from_9d, rotation_to_9d),
    "rotvec": RotationRepresentation(3, rotation_from_rotvec, rotation_to_rotvec),
}


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1, keepdim=True)


def _divide_by_largest(vector: Tensor) -> Tensor:
    """Divide by the largest magnitude; below the range where 1/x is safe, return zero.

    The divisor is constant for the gradient: what follows does not depend on the length.
    """
    if vector.dtype in (torch.float16, torch.bfloat16):
        vector = vector.float()
    largest = vector.detach().abs().amax(dim=-1, keepdim=True)
    info = torch.finfo(vector.dtype)
    usable = largest > info.tiny / info.eps
    return torch.where(usable, vector, 0.0) / torch.where(usable, largest, 1.0)


def _normalise(vector: Tensor, fallback: Tensor, threshold: float) -> Tensor:
    """Unit vector; ``fallback``, with zero gradient, where the length is at most ``threshold``."""
    length = torch.linalg.vector_norm(vector.detach(), dim=-1, keepdim=True)
    # Replacing the input, not the result, keeps 0/0 out of the backward pass too.
    vector = torch.where(length > threshold, vector, fallback)
    return vector / torch.linalg.vector_norm(vector, dim=-1, keepdim=True)


def _require_last_size(vector: Tensor, size: int) -> None:
    if vector.shape[-1:] != (size,):
        raise ValueError(f"expected shape (..., {size}), got {tuple(vector.shape)}")
