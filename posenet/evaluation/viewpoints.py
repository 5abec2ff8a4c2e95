"""How well viewpoint bins are told apart, and how far their probabilities can be believed."""

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posenet.evaluation.metrics import PoseErrors, pose_errors
from posenet.geometry import Pose
from posenet.models.viewpoints import ViewpointBins

Array = NDArray[np.float64]

CALIBRATION_BINS = 15


class ViewpointEvaluation(NamedTuple):
    """What became of N frames with K viewpoint bins.

    Attributes:
        bins: The bins, in float64 on the CPU.
        true_bin: The bin nearest to each true pose, (N,).
        predicted_bin: The most probable bin, (N,).
        probability: Of every bin, (N, K).
        coarse: Errors of the centre of the predicted bin.
        nearest: Errors of the centre of the true bin: what no choice of bins can better.
    """

    bins: ViewpointBins
    true_bin: NDArray[np.int64]
    predicted_bin: NDArray[np.int64]
    probability: Array
    coarse: PoseErrors
    nearest: PoseErrors


def evaluate_viewpoints(bins: ViewpointBins, logits: Tensor, truth: Pose) -> ViewpointEvaluation:
    """Compare the bins that a network believes in with the bins of the true poses.

    Args:
        bins: The network's bins.
        logits: Of the bins, (N, K).
        truth: True poses, (N,).
    """
    bins = copy.deepcopy(bins).cpu().double()
    probability = logits.double().cpu().softmax(dim=-1)
    # By the logits: far-off ones differ where their probabilities are both 1.
    true_bin, predicted_bin = bins.assign(truth), logits.cpu().argmax(dim=-1)
    centers = bins.centers
    coarse, nearest = (
        pose_errors(Pose(centers.rotation[index], centers.translation[index]), truth)
        for index in (predicted_bin, true_bin)
    )
    return ViewpointEvaluation(
        bins, true_bin.numpy(), predicted_bin.numpy(), probability.numpy(), coarse, nearest
    )


def summarise_viewpoints(evaluation: ViewpointEvaluation) -> dict[str, Any]:
    """What the bins of a test set come to.

    Returns:
        ``bins`` (K); ``top1_accuracy`` and, of more than five bins, ``top5_accuracy``, the share of
        frames whose true bin is the most probable, or one of the five most probable;
        ``mean_probability`` of the most probable bin and ``expected_calibration_error``, by how
        much that differs from how often it was right; medians of the errors of the predicted bin's
        centre (``coarse_...``) and of the true bin's (``nearest_bin_...``).
    """
    probability, true_bin = evaluation.probability, evaluation.true_bin
    best = probability.max(axis=-1)
    right = evaluation.predicted_bin == true_bin
    summary: dict[str, Any] = {
        "bins": probability.shape[1],
        "top1_accuracy": float(right.mean()),
        "mean_probability": float(best.mean()),
        "expected_calibration_error": expected_calibration_error(best, right),
    }
    if probability.shape[1] > 5:
        ranked = torch.from_numpy(probability).topk(5, dim=-1).indices.numpy()
        summary["top5_accuracy"] = float((ranked == true_bin[:, None]).any(axis=1).mean())
    for name, errors in (("coarse", evaluation.coarse), ("nearest_bin", evaluation.nearest)):
        summary[f"{name}_median_translation_m"] = float(np.median(errors.translation_m))
        summary[f"{name}_median_rotation_deg"] = float(np.median(errors.rotation_deg))
    return summary


def expected_calibration_error(
    probability: Array, right: NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> float:
    """Mean gap between how probable predictions were said to be and how often they were right.

    Predictions are put together by their probability in bins of equal width; each bin counts by its
    number of predictions. 0 is calibrated, also for a network that is often wrong and says so.

    Args:
        probability: Of each prediction, (N,), in [0, 1].
        right: Whether it was right, (N,).
        bins: Number of bins; the estimate grows with it, by noise, when there are few predictions.

    Raises:
        ValueError: There are no predictions, or not as many of one as of the other.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    if len(probability) != len(right) or len(right) == 0:
        raise ValueError(f"expected N > 0 of each, got {len(probability)} and {len(right)}")
    return float(
        sum(
            len(said) / len(right) * abs(said.mean() - hit.mean())
            for said, hit in calibration_groups(probability, right, bins)
        )
    )


def calibration_groups(
    probability: Array, right: NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> list[tuple[Array, NDArray[np.bool_]]]:
    """Predictions put together by their probability; groups without any are left out.

    The b-th holds those in ((b - 1) / bins, b / bins], and the first those of 0 too.
    """
    group = np.clip(np.ceil(probability * bins).astype(np.int64) - 1, 0, bins - 1)
    return [(probability[group == b], right[group == b]) for b in np.unique(group)]
