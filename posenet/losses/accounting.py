"""Means over an epoch that do not depend on how it was cut into batches."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class EpochMean:
    """The mean of a loss or an error over all samples of an epoch: summed totals over weights.

    The usual ``loss.item() * batch_size`` is right only where every sample counts 1. With class
    weights torch divides a batch by the sum of the weights of its labels, with ``ignore_index`` by
    the labels that are left; a batch then counts just that, its ``weight``.

    Batches are summed in float64, and the sums of batches with compensation: the mean is exact to
    rounding however many batches there were. No update waits for a GPU, as the sums stay on the
    device of the values; of Apple's GPU, which has no float64, values are moved to the CPU.

    Example::

        loss = EpochMean()
        for logits, target in batches:
            loss.update(*cross_entropy_sum_and_weight(logits, target, weight=class_weights))
        print(float(loss.mean))
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._sums = torch.zeros(2, dtype=torch.float64)  # of values, of weights
        self._errors = torch.zeros(2, dtype=torch.float64)  # what rounding took from them

    def update(self, total: Tensor | float, weight: Tensor | float) -> None:
        """Add a batch by its summed loss.

        Args:
            total: Sum of the batch's losses, a scalar. A sum in float32 has lost digits already:
                :meth:`update_values` sums in float64.
            weight: What the mean of the batch divides by: its samples, or the sum of their weights.

        Raises:
            TypeError: Either is complex.
            ValueError: Either is no scalar, or the weight is negative or not finite (of a tensor
                this is not checked, as reading it would wait for the GPU).
        """
        if not isinstance(weight, Tensor) and not 0 <= weight < math.inf:
            raise ValueError(f"weight: expected a finite number, not negative, got {weight}")
        self._add(_scalar(total, "total"), _scalar(weight, "weight"))

    def update_mean(self, mean: Tensor | float, weight: Tensor | float) -> None:
        """Add a batch by its mean loss and *what that mean was divided by*.

        A weight of 0 adds nothing: torch's mean of nothing is NaN. Otherwise as :meth:`update`.
        """
        divisor = _scalar(weight, "weight")
        total = _scalar(mean, "mean") * divisor
        nothing = _moved(divisor, total.device) == 0.0
        self.update(total.masked_fill(nothing, 0.0), weight)

    def update_values(self, values: Tensor, weights: Tensor | None = None) -> None:
        """Add a batch by the losses of its samples.

        Args:
            values: Of any shape, as ``reduction="none"`` gives them: a weighted loss has its
                weights in them already.
            weights: What each counts in the mean, of the same shape, such as
                ``sample_weights(...)``; None for 1.

        Raises:
            TypeError: Either is complex.
            ValueError: The shapes differ.
        """
        if weights is None:
            self._add(_wide(values, "values").sum(), _scalar(values.numel(), "weight"))
            return
        if weights.shape != values.shape:
            raise ValueError(
                f"weights: expected shape {tuple(values.shape)} as the values', "
                f"got {tuple(weights.shape)}"
            )
        self._add(_wide(values, "values").sum(), _wide(weights, "weights").sum())

    @property
    def mean(self) -> Tensor:
        """Total over weight, a scalar in float64; 0 where nothing counted, like the losses."""
        total, weight = self._values()
        nothing = (weight == 0.0) & (total == 0.0)
        return total / weight.masked_fill(nothing, 1.0)

    @property
    def total(self) -> Tensor:
        """Sum of all values, a scalar in float64."""
        return self._values()[0]

    @property
    def weight(self) -> Tensor:
        """Sum of all weights, a scalar in float64."""
        return self._values()[1]

    def reduce(self) -> "EpochMean":
        """The mean over all processes, as an object of its own; every process must call this.

        Without ``torch.distributed`` it is a copy. Each process gets the same bits, and may have
        seen any number of batches, also none.
        """
        result = EpochMean()
        state = torch.stack((self._sums, self._errors))
        if not (dist.is_available() and dist.is_initialized()):
            result._sums, result._errors = state.unbind()
            return result
        # Gathered rather than reduced, as a reduction would round in an order of its own.
        state = state.to(_communication_device())
        gathered = [torch.empty_like(state) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, state)
        for sums, errors in gathered:
            result._add(*sums)
            result._errors = result._errors + errors
        return result

    def state_dict(self) -> dict[str, list[float]]:
        """Plain numbers that :meth:`load_state_dict` goes on from, to the bit."""
        return {"sums": self._sums.tolist(), "errors": self._errors.tolist()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`.

        Raises:
            ValueError: It is not the state of an epoch's mean.
        """
        try:
            state = torch.tensor([state_dict["sums"], state_dict["errors"]], dtype=torch.float64)
            if state.shape != (2, 2):
                raise ValueError(f"shape {tuple(state.shape)}")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                "state_dict: expected two sums and two errors, as EpochMean.state_dict gives them, "
                f"got {state_dict!r}"
            ) from error
        self._sums, self._errors = state.unbind()

    def _add(self, total: Tensor, weight: Tensor) -> None:
        devices = (total.device, weight.device, self._sums.device)
        device = next((device for device in devices if device.type != "cpu"), devices[0])
        new = torch.stack((_moved(total, device), _moved(weight, device)))
        sums = self._sums.to(device)
        # Knuth's two-sum: the rounding error of a sum is a number, and these steps give it.
        added = sums + new
        share = added - sums
        error = (sums - (added - share)) + (new - share)
        self._sums, self._errors = added, self._errors.to(device) + error

    def _values(self) -> tuple[Tensor, Tensor]:
        # Of an infinite sum the error is NaN.
        total, weight = torch.where(self._sums.isfinite(), self._sums + self._errors, self._sums)
        return total, weight


def _scalar(value: Tensor | float, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        return torch.tensor(float(value), dtype=torch.float64)
    if value.numel() != 1:
        raise ValueError(f"{name}: expected a scalar, got shape {tuple(value.shape)}")
    return _wide(value, name).reshape(())


def _wide(tensor: Tensor, name: str) -> Tensor:
    """The values in float64, on the CPU if their device has no such numbers."""
    tensor = tensor.detach()
    tensor = tensor.cpu() if tensor.device.type == "mps" else tensor
    if tensor.is_complex():
        raise TypeError(f"{name}: expected real numbers, got {tensor.dtype}")
    return tensor.double()


def _moved(scalar: Tensor, device: torch.device) -> Tensor:
    if scalar.device.type == "cpu" and device.type != "cpu":
        # Filled, not copied: a copy from the CPU would wait.
        return torch.full((), scalar.item(), dtype=scalar.dtype, device=device)
    return scalar.to(device)


def _communication_device() -> torch.device:
    """Where processes talk: NCCL knows only tensors on the GPU, Gloo and MPI prefer the CPU."""
    if "nccl" in dist.get_backend():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
