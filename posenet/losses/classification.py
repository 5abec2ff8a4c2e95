"""Losses of class logits (..., K), any batch shape, the classes last.

``Q = softmax(logits)`` is the prediction and ``P`` the target: a class index, or probabilities
over the classes. float16 and bfloat16 logits are computed in float32.

Reductions count samples: ``mean`` divides by the samples that count, or with indices and class
weights by the sum of ``w_y``, as torch does. Where nothing counts (an empty batch, or every target
ignored) the mean is 0 with a zero gradient; torch's is NaN, which would end a training.

Non-finite logits are not hidden: NaN stays NaN. A logit of -inf masks its class, which costs
nothing as long as the target gives it no probability. The logits of ignored samples do not matter.

Shapes and types are always checked. The *values* of targets and weights are checked where they can
be read, which waits for a GPU; they are taken for granted under ``torch.compile``, ``vmap``, fake
tensors and the capture of a CUDA graph.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from posenet.losses.class_targets import (
    IGNORE_INDEX,
    checked_indices,
    checked_logits,
    checked_target,
    holds_everywhere,
    kind,
    one_hot,
    require_probabilities,
    require_range,
    require_weight,
    shape_of,
)
from posenet.losses.label_smoothing import smooth, smoothed_shares
from posenet.losses.reduction import Reduction, reduce


class ClassificationLoss(NamedTuple):
    """A row of ``CLASSIFICATION_LOSSES``: the function, and what `posenet losses` says about it.

    Attributes:
        function: The loss of logits (..., K) and a target.
        formula: The loss of a sample; Q is the softmax of the logits, P the target.
        gradient: Its derivative by logit k.
        targets: Which targets it takes.
        note: When it is used, or what it is prone to.
    """

    function: Callable[..., Tensor]
    formula: str
    gradient: str
    targets: str
    note: str


class LossSum(NamedTuple):
    """The sum of a batch's losses and what a mean divides it by, both scalars in float64.

    On a device without float64 (Apple's GPU) both are float32.
    """

    total: Tensor
    weight: Tensor


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    smoothing: str = "uniform",
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy ``-sum_k P_k log Q_k``, with torch's conventions.

    Of a sample it is finite wherever its true value is a number of the type, also where torch's is
    not: a target probability or a class weight of 0 may meet a logit of -inf, and logits may differ
    by more than the largest number.

    Args:
        logits: (..., K).
        target: Class indices (...), integers; or class probabilities (..., K), floating: one-hot,
            smoothed, or a teacher's. No broadcasting.
        label_smoothing: Probability to be taken from the labelled class, 0 to 1.
        smoothing: A row of ``SMOOTHING_CONVENTIONS``.
        weight: Class weights (K), not negative: class k counts ``w_k P_k``.
        ignore_index: Class index of samples that do not count; for indices only.
        reduction: none, sum or mean. The mean of indices divides by the sum of ``w_y``, that of
            probabilities by the number of samples.

    Returns:
        A scalar, or (...) with ``none``; ignored samples are 0.

    Raises:
        TypeError: Logits are not floating, or a target is neither indices nor probabilities.
        ValueError: A shape, a class index, a probability or a setting is out of range.
    """
    values, weights = _cross_entropy(
        logits, target, label_smoothing, smoothing, weight, ignore_index
    )
    return _reduce(values, weights, reduction)


def cross_entropy_sum_and_weight(
    logits: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    smoothing: str = "uniform",
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
) -> LossSum:
    """The sum of :func:`cross_entropy` over a batch and the weight of the batch, for exact means.

    ``total / weight`` is the batch's mean; summed totals over summed weights are the mean of the
    whole set, whatever the batches (``EpochMean.update(*cross_entropy_sum_and_weight(...))``).
    Both can be differentiated, for a mean over accumulated batches or over processes.

    Args and Raises: as for :func:`cross_entropy`.
    """
    values, weights = _cross_entropy(
        logits, target, label_smoothing, smoothing, weight, ignore_index
    )
    dtype = torch.float32 if values.device.type == "mps" else torch.float64
    if weights is None:
        return LossSum(values.sum(dtype=dtype), values.new_full((), values.numel(), dtype=dtype))
    return LossSum(values.sum(dtype=dtype), weights.sum(dtype=dtype))


def sample_weights(
    target: Tensor, *, weight: Tensor | None = None, ignore_index: int = IGNORE_INDEX
) -> Tensor:
    """What each sample counts in a mean: ``w_y`` or 1, and 0 where ignored.

    Args:
        target: Class indices (...).
        weight: Class weights (K), or None for 1.
        ignore_index: Class index of samples that do not count.

    Returns:
        (...) in the type of ``weight``, else in torch's default type or float32 if it is shorter.

    Raises:
        TypeError: The target is not of an integer type.
        ValueError: A class index or a weight is out of range.
    """
    target = checked_indices(target)
    if weight is None:
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        return _sample_weights(target, None, ignore_index).to(dtype)
    if weight.ndim != 1 or len(weight) == 0:
        raise ValueError(f"weight: expected a weight a class (K), got shape {shape_of(weight)}")
    require_weight(weight, len(weight))
    require_range(target, len(weight), ignore_index)
    return _sample_weights(target, weight, ignore_index)


def nll(
    log_probabilities: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log-likelihood ``-log Q_y`` of log-probabilities, such as ``log_softmax`` gives.

    Args:
        log_probabilities: (..., K). They are not normalised here: logits give a wrong value.
        target: Class indices (...).
        weight: Class weights (K), not negative.
        ignore_index: Class index of samples that do not count.
        reduction: none, sum or mean; the mean divides by the sum of ``w_y``.

    Returns:
        A scalar, or (...) with ``none``; ignored samples are 0.

    Raises:
        TypeError: The log-probabilities are not floating, or the target is not of an integer type.
        ValueError: A shape, a class index or a weight is out of range.
    """
    log_probabilities = checked_logits(log_probabilities, "log_probabilities")
    classes = log_probabilities.shape[-1]
    target = checked_target(log_probabilities, target)
    if target.is_floating_point():
        raise TypeError(
            f"target: expected class indices of an integer type, got {kind(target)}; "
            "probabilities go to cross_entropy or kl_divergence"
        )
    require_range(target, classes, ignore_index)
    if weight is not None:
        require_weight(weight, classes)
        weight = weight.to(log_probabilities)
    values = F.nll_loss(
        log_probabilities.reshape(-1, classes),
        target.reshape(-1),
        ignore_index=ignore_index,
        reduction="none",
    ).reshape(target.shape)
    weights = _sample_weights(target, weight, ignore_index)
    return _reduce(values if weight is None else _weighted(values, weights), weights, reduction)


def kl_divergence(
    logits: Tensor, target_probabilities: Tensor, reduction: Reduction = "mean"
) -> Tensor:
    """Kullback-Leibler divergence ``sum_k P_k log(P_k / Q_k)`` of the prediction from the target.

    It is the cross-entropy less the entropy of the target: 0 at a match, the same gradient by the
    logits. The mean is over samples: torch's ``batchmean`` for (N, K). F.kl_div's default,
    ``mean``, divides by K as well, and warns of it.

    Args:
        logits: (..., K).
        target_probabilities: (..., K), floating.
        reduction: none, sum or mean.

    Raises:
        TypeError: Logits or targets are not floating.
        ValueError: A shape or a probability is out of range.
    """
    logits = checked_logits(logits)
    if not checked_target(logits, target_probabilities).is_floating_point():
        raise TypeError(
            f"target: expected float probabilities (..., K), got {kind(target_probabilities)}; "
            "class indices go to cross_entropy"
        )
    require_probabilities(target_probabilities)
    return _reduce(_divergence(logits, target_probabilities.to(logits.dtype)), None, reduction)


def softmax_mse(logits: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Half the squared error of the probabilities, ``1/2 sum_k (Q_k - P_k)^2``: a contrast.

    Its gradient, ``Q_k [(Q_k - P_k) - sum_j Q_j (Q_j - P_j)]``, vanishes where the network is sure
    and wrong, so that it learns least from its worst errors; cross-entropy does not.

    Args:
        logits: (..., K).
        target: Class indices (...), or probabilities (..., K).
        reduction: none, sum or mean over samples.

    Raises:
        TypeError: Logits are not floating, or the target is neither indices nor probabilities.
        ValueError: A shape, a class index or a probability is out of range.
    """
    logits = checked_logits(logits)
    classes = logits.shape[-1]
    target = checked_target(logits, target)
    if target.is_floating_point():
        require_probabilities(target)
        probabilities = target.to(logits.dtype)
    else:
        require_range(target, classes, None)
        probabilities = one_hot(target, classes, logits.dtype)
    errors = F.mse_loss(logits.softmax(dim=-1), probabilities, reduction="none")
    return _reduce(0.5 * errors.sum(dim=-1), None, reduction)


def distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor | None = None,
    *,
    temperature: float = 2.0,
    teacher_share: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """``share T^2 KL(teacher / T, student / T) + (1 - share) cross-entropy(student, target)``.

    The factor ``T^2`` keeps the size of the teacher's gradient when the temperature is changed. No
    gradient flows into the teacher.

    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015; they use
    the cross-entropy with the teacher, which has the same gradient but is not 0 at a match.

    Args:
        student_logits: (..., K).
        teacher_logits: (..., K).
        target: As for :func:`cross_entropy`, or None to learn from the teacher alone. A sample of
            index -100 has no label and learns from the teacher alone.
        temperature: T, positive; softer above 1.
        teacher_share: Weight of the teacher, 0 to 1: 1 without a target, below 1 with one.
        reduction: none, sum or mean; means are taken of each term by itself.

    Raises:
        TypeError: Logits are not floating, or the target is neither indices nor probabilities.
        ValueError: A shape, a target or a setting is out of range.
    """
    student_logits = checked_logits(student_logits, "student_logits")
    teacher_logits = checked_logits(teacher_logits, "teacher_logits").detach()
    if teacher_logits.shape != student_logits.shape:
        raise ValueError(
            f"teacher_logits: expected shape {shape_of(student_logits)} as the student's, "
            f"got {shape_of(teacher_logits)}"
        )
    if not (temperature > 0.0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    if not 0.0 <= teacher_share <= 1.0:
        raise ValueError(f"teacher_share: expected a number from 0 to 1, got {teacher_share}")
    if (target is None) != (teacher_share == 1.0):
        has = "no target" if target is None else "a target"
        expected = "1" if target is None else "less than 1"
        raise ValueError(f"teacher_share: expected {expected} with {has}, got {teacher_share}")
    soft_target = (teacher_logits / temperature).softmax(dim=-1).to(student_logits.dtype)
    # Multiplied once: the share may bring what the square would lift out of range back into it.
    values = (teacher_share * temperature**2) * _divergence(
        student_logits / temperature, soft_target
    )
    loss = _reduce(values, None, reduction)
    if target is None:
        return loss
    return loss + (1.0 - teacher_share) * cross_entropy(student_logits, target, reduction=reduction)


def top1_accuracy(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: Reduction = "mean",
) -> Tensor:
    """Share of samples whose largest logit is that of their class.

    Of equal logits the first is the prediction. Logits with a NaN predict no class.

    Args:
        logits: (..., K).
        target: Class indices (...).
        ignore_index: Class index of samples that do not count.
        reduction: mean; sum for the number of hits; none for 1, or 0, a sample.

    Raises:
        TypeError: Logits are not floating, or the target is not of an integer type.
        ValueError: A shape or a class index is out of range.
    """
    logits = checked_logits(logits)
    target = checked_target(logits, target)
    if target.is_floating_point():
        raise TypeError(f"target: expected class indices of an integer type, got {kind(target)}")
    require_range(target, logits.shape[-1], ignore_index)
    counts = target != ignore_index
    hits = (logits.argmax(dim=-1) == target) & counts & ~logits.isnan().any(dim=-1)
    return _reduce(hits.to(logits.dtype), counts, reduction)


CLASSIFICATION_LOSSES: dict[str, ClassificationLoss] = {
    "cross_entropy": ClassificationLoss(
        cross_entropy,
        "-sum_k P_k log Q_k",
        "Q_k - P_k",
        "class indices, or probabilities: one-hot, smoothed, a teacher's",
        "the usual one: what is wrong and sure pulls hardest",
    ),
    "nll": ClassificationLoss(
        nll,
        "-log Q_y",
        "Q_k - [k = y]",
        "class indices, with log-probabilities in place of logits",
        "cross-entropy after log_softmax",
    ),
    "kl_divergence": ClassificationLoss(
        kl_divergence,
        "sum_k P_k log(P_k / Q_k)",
        "Q_k - P_k",
        "probabilities",
        "cross-entropy less the entropy of P: 0 at a match",
    ),
    "softmax_mse": ClassificationLoss(
        softmax_mse,
        "1/2 sum_k (Q_k - P_k)^2",
        "Q_k ((Q_k - P_k) - sum_j Q_j (Q_j - P_j))",
        "class indices, or probabilities",
        "a contrast: the gradient vanishes where Q is sure and wrong",
    ),
    "distillation": ClassificationLoss(
        distillation,
        "share T^2 sum_k P_k log(P_k / Q_k) + (1 - share) cross-entropy, P and Q at temperature T",
        "share T (Q_k - P_k) + (1 - share) that of cross-entropy",
        "a teacher's logits, and labels if wanted",
        "T^2 keeps the teacher's gradient at its size whatever T is",
    ),
}


def _cross_entropy(
    logits: Tensor,
    target: Tensor,
    label_smoothing: float,
    smoothing: str,
    weight: Tensor | None,
    ignore_index: int,
) -> tuple[Tensor, Tensor | None]:
    """Losses (...), and what each counts in a mean; None where all count 1."""
    logits = checked_logits(logits)
    classes = logits.shape[-1]
    target = checked_target(logits, target)
    if weight is not None:
        require_weight(weight, classes)
        weight = weight.to(logits)
    if target.is_floating_point():
        if ignore_index != IGNORE_INDEX:
            raise ValueError(
                f"ignore_index: expected none with class probabilities, got {ignore_index}"
            )
        require_probabilities(target)
        shares = smooth(target.to(logits.dtype), label_smoothing, smoothing)
        return _surprise(logits, shares if weight is None else weight * shares), None

    require_range(target, classes, ignore_index)
    labelled, other = smoothed_shares(label_smoothing, smoothing, classes)
    ignored = target == ignore_index
    weights = _sample_weights(target, weight, ignore_index)
    if not holds_everywhere(~ignored, unknown=False):
        # Otherwise a NaN among logits that do not count would get into the gradient.
        logits = logits.masked_fill(ignored.unsqueeze(-1), 0.0)
    values = F.cross_entropy(
        logits.reshape(-1, classes),
        target.reshape(-1),
        None if other == 0.0 else weight,
        ignore_index=ignore_index,
        reduction="none",
        label_smoothing=min(1.0, classes * other),
    ).reshape(target.shape)
    if other == 0.0:  # infinite is the true value
        return values if weight is None else _weighted(values, weights), weights
    # More than uniform smoothing torch does not do.
    if labelled >= other and holds_everywhere(values.isfinite(), unknown=False):
        return values, weights
    shares = other + (labelled - other) * one_hot(target, classes, logits.dtype)
    values = _surprise(logits, shares if weight is None else weight * shares)
    return values.masked_fill(ignored, 0.0), weights


def _surprise(logits: Tensor, shares: Tensor) -> Tensor:
    """``-sum_k shares_k log Q_k``: (...)."""
    classes = logits.shape[-1]
    values = F.cross_entropy(
        logits.reshape(-1, classes), shares.reshape(-1, classes), reduction="none"
    ).reshape(logits.shape[:-1])
    if holds_everywhere(values.isfinite(), unknown=False):
        return values
    # torch's is NaN where a share of 0 meets a Q of 0, and infinite where logits differ by more
    # than the largest number. Half the difference of any two numbers is one. This takes longer.
    top = logits.detach().amax(dim=-1, keepdim=True)  # the value does not depend on it
    half_gaps = 0.5 * top - 0.5 * logits
    log_partition = torch.logsumexp(-2.0 * half_gaps, dim=-1)
    unseen = (shares == 0.0) & half_gaps.isinf()
    expected_gap = 2.0 * (shares * half_gaps.masked_fill(unseen, 0.0)).sum(dim=-1)
    return expected_gap + shares.sum(dim=-1) * log_partition


def _divergence(logits: Tensor, probabilities: Tensor) -> Tensor:
    """``sum_k P_k log(P_k / Q_k)``: (...). F.kl_div fails where F.cross_entropy does."""
    return _surprise(logits, probabilities) - torch.special.entr(probabilities).sum(dim=-1)


def _reduce(values: Tensor, weights: Tensor | None, reduction: Reduction) -> Tensor:
    """Values, their sum, or their sum over that of the weights, which is 0 where nothing counts."""
    if reduction != "mean":
        return reduce(values, reduction)
    if weights is None:
        return values.mean() if values.numel() > 0 else values.sum()
    total, weight = values.sum(), weights.sum()
    nothing = (weight == 0) & (total == 0.0)
    return total / weight.masked_fill(nothing, 1)


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Values times weights, where a weight of 0 makes 0 of an infinite value; torch makes NaN."""
    return weights * values.masked_fill((weights == 0.0) & (values == torch.inf), 0.0)


def _sample_weights(target: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
    """What each sample counts; without class weights booleans, whose sum is an exact integer."""
    ignored = target == ignore_index
    if weight is None:
        return ~ignored
    labels = target.masked_fill(ignored, 0).reshape(-1)
    # Not weight[labels], which reads the index of a single sample: vmap over samples cannot.
    return weight.index_select(0, labels).reshape(target.shape).masked_fill(ignored, 0.0)
