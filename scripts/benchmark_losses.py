"""Speed of the losses against kornia, roma and plain torch, as a Markdown table.

    python scripts/benchmark_losses.py            # everything, about two minutes
    python scripts/benchmark_losses.py geodesic   # the rows whose name contains a word

Forward and backward together, one thread, CPU time, minimum of many runs. Ours and the peer take
turns inside one process, so that both meet the same machine; only the ratio means anything. The
process ends with code 1 where a ratio misses its target.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import kornia
import roma
import torch
from torch import Tensor

from posenet import losses
from posenet.geometry import geodesic_distance, quaternion_geodesic_distance

Function = Callable[..., Tensor]


class Row(NamedTuple):
    """One comparison: ``ours(*inputs)`` against ``peer(*inputs)``."""

    name: str
    ours: Function
    peer_name: str
    peer: Function
    inputs: tuple[Tensor, ...]  # the first requires a gradient
    target: float | None  # largest ratio asked for


def general_loss_by_branches(residual: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    """Barron's general loss with every special case computed everywhere and one selected.

    This is how the published formula is usually coded, robust_loss_pytorch included, which is on
    no package index and so cannot be a dependency of this script.
    """
    square = (residual / scale) ** 2
    beta = (alpha - 2.0).abs().clamp_min(torch.finfo(torch.float32).eps)
    away = alpha.abs().clamp_min(torch.finfo(torch.float32).eps)
    away = torch.where(alpha >= 0, away, -away)
    general = (beta / away) * ((square / beta + 1.0) ** (0.5 * alpha) - 1.0)
    special = {
        2.0: 0.5 * square,
        0.0: torch.log1p(torch.clamp_max(0.5 * square, 33e37)),
        -torch.inf: -torch.expm1(-0.5 * square),
        torch.inf: torch.expm1(torch.clamp_max(0.5 * square, 87.5)),
    }
    for value, loss in special.items():
        general = torch.where(alpha == value, loss, general)
    return general


def make_rows() -> Iterator[Row]:
    """Every comparison."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def quaternion(count: int) -> Tensor:
        return torch.nn.functional.normalize(normal(count, 4), dim=-1)

    for count, target in ((64, 1.6), (1024, None), (65_536, 1.0), (1_048_576, 1.0)):
        yield Row(
            f"quaternion geodesic, n = {count}",
            quaternion_geodesic_distance,
            "roma.unitquat_geodesic_distance",
            roma.unitquat_geodesic_distance,
            (quaternion(count), quaternion(count)),
            target,
        )
    for count in (64, 1024, 65_536):
        yield Row(
            f"matrix geodesic, n = {count}",
            geodesic_distance,
            "kornia angle_error_mat",
            kornia.metrics.pose.angle_error_mat,
            (
                roma.unitquat_to_rotmat(quaternion(count)),
                roma.unitquat_to_rotmat(quaternion(count)),
            ),
            0.65,
        )
    for count in (64, 1024, 65_536):
        yield Row(
            f"exact_at_pi, n = {count}",
            partial(geodesic_distance, exact_at_pi=True),
            "geodesic_distance",
            geodesic_distance,
            (
                roma.unitquat_to_rotmat(quaternion(count)),
                roma.unitquat_to_rotmat(quaternion(count)),
            ),
            None,
        )
    prediction, truth = normal(1_000_000), normal(1_000_000)
    for name, peer, target in (
        ("pseudo_huber", kornia.losses.charbonnier_loss, 0.4),
        ("welsch", kornia.losses.welsch_loss, 0.4),
        ("cauchy", kornia.losses.cauchy_loss, 1.1),
        ("geman_mcclure", kornia.losses.geman_mcclure_loss, 1.1),
    ):
        ours = getattr(losses, name)
        yield Row(
            f"{name}, n = 1e6",
            lambda a, b, ours=ours: ours(a - b, reduction="none"),
            f"kornia {peer.__name__}",
            peer,
            (prediction, truth),
            target,
        )
    for alpha in (1.5, 0.0, -2.0):
        yield Row(
            f"general_robust, alpha = {alpha:g}, n = 1e6",
            lambda a, b, alpha=alpha: losses.general_robust(a - b, alpha=alpha, reduction="none"),
            "every branch of the published formula",
            lambda a, b, alpha=alpha: general_loss_by_branches(
                a - b, torch.tensor(1.0), torch.tensor(alpha)
            ),
            (prediction, truth),
            0.5,
        )


def seconds(function: Function, inputs: tuple[Tensor, ...], calls: int) -> float:
    """CPU seconds of one forward and backward pass, as the mean of ``calls`` in a row."""
    first = inputs[0].detach().requires_grad_()
    start = time.process_time()
    for _ in range(calls):
        first.grad = None
        function(first, *inputs[1:]).sum().backward()
    return (time.process_time() - start) / calls


def compare(row: Row, repeats: int) -> tuple[float, float]:
    """Least CPU seconds of ours and of the peer, which take turns."""
    calls = max(1, round(2e-3 / max(seconds(row.peer, row.inputs, 3), 1e-6)))
    pairs = [
        (seconds(row.ours, row.inputs, calls), seconds(row.peer, row.inputs, calls))
        for _ in range(repeats)
    ]
    return min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("word", nargs="?", default="", help="only rows whose name contains this")
    parser.add_argument("--repeats", type=int, default=100, help="turns of each side (100)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    gc.disable()
    print(f"torch {torch.__version__}, kornia {kornia.__version__}, roma {roma.__version__}\n")
    print("| loss | against | ours | peer | ratio | target |")
    print("|---|---|---|---|---|---|")
    missed = 0
    for row in make_rows():
        if options.word not in row.name:
            continue
        ours, peer = compare(row, options.repeats)
        missed += row.target is not None and ours > row.target * peer
        target = "" if row.target is None else f"{row.target:.2f}"
        print(
            f"| {row.name} | {row.peer_name} | {ours * 1e6:.0f} us | {peer * 1e6:.0f} us "
            f"| {ours / peer:.2f} | {target} |",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
