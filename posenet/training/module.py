"""The training step, as Lightning wants it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from posenet.config import DistillConfig, LossConfig, OptimizationConfig
from posenet.datasets.loader import Sample
from posenet.errors import DataError
from posenet.geometry import Pose, geodesic_distance, translation_distance
from posenet.losses import (
    EpochMean,
    PoseLoss,
    PoseLossTerms,
    cross_entropy,
    distillation,
    rotation_laplace_nll,
    translation_laplace_nll,
    viewpoint_targets,
)
from posenet.models.folding import folded
from posenet.models.network import Confidence, PoseNetwork, Prediction, to_float
from posenet.process_group import from_all, group_size
from posenet.training.synchronized import share_batches

_NAMED = 8  # frames in one line

# Of AdamW. Gradients of this size are what rounding leaves of a sum over a batch; with torch's 1e-8
# they would move weights as far as any others, on each machine another way.
_EPSILON = 1e-6


class TrainingModule(lightning.LightningModule):
    """Trains a pose network and, beside it, the moving average of its weights that is kept.

    Args:
        network: The network, its statistics already fitted.
        loss: Settings of the loss.
        optimization: Settings of the optimiser.
        total_steps: Optimiser steps of the whole run, for the schedule.
        seed: Seed of dropout.
        teacher: A network with the same viewpoint bins to learn from.
        distill: How to learn from it.
        frame_names: What :attr:`Sample.index` counts, to name frames in errors.
        reads_kept_views: Whether training batches hold what frozen layers made of images.
    """

    def __init__(
        self,
        network: PoseNetwork,
        loss: LossConfig,
        optimization: OptimizationConfig,
        total_steps: int,
        seed: int = 0,
        teacher: PoseNetwork | None = None,
        distill: DistillConfig | None = None,
        frame_names: Sequence[str] = (),
        reads_kept_views: bool = False,
    ) -> None:
        super().__init__()
        if group_size() > 1:
            share_batches(network)
        self.network = network
        self.loss = PoseLoss(loss, float(network.translation_spread))
        self.optimization = optimization
        self.total_steps = total_steps
        self.seed = seed
        self.distill = distill
        self.frame_names = frame_names
        self.reads_kept_views = reads_kept_views
        # In a tuple, which torch does not look into: it is neither trained nor kept in checkpoints.
        self._teacher = () if teacher is None else (teacher.eval().requires_grad_(False),)
        self.averaged: AveragedModel | None = None
        if optimization.ema_decay > 0:
            # Batch statistics are averaged too: they belong to the averaged weights.
            self.averaged = AveragedModel(network, multi_avg_fn=self._average, use_buffers=True)
            self.averaged.requires_grad_(False)  # or processes would wait for its gradients
        names = ["loss", "rotation_deg", "translation_m"]
        names += ["confidence_loss"] if network.has_confidence else []
        self._train_means = {f"train_{name}": EpochMean() for name in names}
        names = [name for name in names if name.endswith("loss")]
        self._validation_means = {f"validation_{name}": EpochMean() for name in names}
        self._errors: list[Tensor] = []
        self._validated: tuple[nn.Module, ...] = ()  # as the network is by now

    @property
    def best_network(self) -> PoseNetwork:
        """The network that is validated and kept: the averaged one, once there is one."""
        if self.averaged is None or self.averaged.n_averaged == 0:
            return self.network
        return self.averaged.module

    def _average(self, averaged: list[Tensor], current: list[Tensor], steps: Tensor) -> None:
        """Exponential moving average whose memory is at most a tenth of the steps so far.

        A constant decay would keep the weights of the first steps in short runs.
        """
        count = int(steps)
        decay = min(self.optimization.ema_decay, (1 + count) / (10 + count))
        for kept, new in zip(averaged, current, strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1.0 - decay)
            else:  # a count of batches
                kept.copy_(new)

    def on_fit_start(self) -> None:
        """Bring the teacher to where the student is."""
        for teacher in self._teacher:
            teacher.to(self.device)

    def on_train_start(self) -> None:
        """Fold what is frozen; refuse a teacher that is not the one a resumed run began with."""
        self.network.fold_frozen_layers()
        for teacher in self._teacher:
            for name, value in teacher.bins.state_dict().items():
                if not torch.equal(value, self.network.bins.state_dict()[name]):
                    raise DataError(
                        "distill.teacher: has other viewpoint bins than the run began with; give "
                        "the same teacher"
                    )

    def on_train_epoch_start(self) -> None:
        """Forget the errors of the epoch before, or of one that was broken off."""
        for mean in self._train_means.values():
            mean.reset()

    def on_train_batch_start(self, *_: Any) -> None:
        """Make dropout a function of (seed, step), so that a resumed run is the same run."""
        state = np.random.SeedSequence((self.seed, self.global_step)).generate_state(1)
        torch.manual_seed(int(state[0]))

    def training_step(self, batch: Sample, batch_index: int) -> dict[str, Tensor]:
        """Loss and mean errors of one batch."""
        if self.reads_kept_views:
            prediction = self.network(batch.image.float(), is_past_frozen=True)
        else:
            prediction = self.network(to_float(batch.image))
        with torch.no_grad():
            taught = [teacher(to_float(batch.image)).logits for teacher in self._teacher]
        terms = self._loss(prediction, batch.pose, *taught)
        if not torch.isfinite(terms.total):
            raise DataError(
                f"the loss is {float(terms.total.detach())} at step {self.global_step + 1}, "
                f"{self._suspects(prediction.pose, batch)}; the last checkpoint is kept, try a "
                "lower --optimization.learning_rate"
            )
        with torch.no_grad():
            rotation_deg, translation_m = _errors(prediction.pose, batch.pose)
        losses = {"train_loss": terms.total}
        if prediction.confidence is not None:
            losses["train_confidence_loss"] = _confidence_loss(
                prediction.confidence, rotation_deg, translation_m
            )
        means = self._train_means
        for name, value in losses.items():
            means[name].update_mean(value, len(batch.image))  # each is a mean over the images
        means["train_rotation_deg"].update_values(rotation_deg)
        means["train_translation_m"].update_values(translation_m)
        if self.trainer.is_last_batch:
            # Not in on_train_epoch_end, which comes after that of the callbacks that read these.
            values = {name: mean.reduce().mean.float() for name, mean in means.items()}
            self.log_dict(values, on_step=False, on_epoch=True, batch_size=1, logger=False)
        return {
            "loss": sum(losses.values()),
            **{name: value.detach() for name, value in losses.items()},
            "rotation_deg": rotation_deg.mean(),
            "translation_m": translation_m.mean(),
        }

    def _suspects(self, pose: Pose, batch: Sample) -> str:
        """The frames of a batch whose poses are not finite, or all of them where none stands out.

        Args:
            pose: Predicted, of shape (B,).
            batch: Of B images.
        """
        broken = ~(pose.translation.isfinite().all(-1) & pose.rotation.isfinite().all((-1, -2)))
        indices = batch.index[broken] if broken.any() else batch.index
        names = [self.frame_names[i] if self.frame_names else f"{i}" for i in indices.tolist()]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        of_all = f"of {len(batch.index)} " if len(names) < len(batch.index) else ""
        return f"for the frames {', '.join(names[:_NAMED])}{more} {of_all}in the batch"

    def _loss(
        self, prediction: Prediction, target: Pose, teacher_logits: Tensor | None = None
    ) -> PoseLossTerms:
        """Loss of the pose, and of the viewpoint bin where the network has them."""
        if prediction.logits is None:
            return self.loss(prediction.pose, target)
        config = self.loss.config
        distances = self.network.bins.squared_distances(target)
        viewpoint = self._viewpoint_loss(
            prediction.logits, viewpoint_targets(distances, config), teacher_logits
        )
        viewpoint = config.viewpoint_weight * viewpoint
        if self.network.mode == "classification":  # the centres of the bins are what they are
            return self.loss(prediction.pose, target)._replace(total=viewpoint)
        # Each candidate answers for the poses near its bin. Smoothing that knows no distance would
        # ask every bin to reach every pose.
        if config.viewpoint_smoothing != "geodesic":
            config = dataclasses.replace(config, viewpoint_smoothing="none")
        share = viewpoint_targets(distances, config)
        terms = self.loss(prediction.candidates, target, share)
        return terms._replace(total=terms.total + viewpoint)

    def _viewpoint_loss(
        self, logits: Tensor, target: Tensor, teacher_logits: Tensor | None
    ) -> Tensor:
        """Cross-entropy with the true bin, and with the teacher's probabilities if there is one."""
        if teacher_logits is None:
            return cross_entropy(logits, target)
        share = self.distill.teacher_share
        return distillation(
            logits,
            teacher_logits,
            target if share < 1.0 else None,
            temperature=self.distill.temperature,
            teacher_share=share,
        )

    def on_train_batch_end(self, *_: Any) -> None:
        """Update the average."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def validation_step(self, batch: Sample, batch_index: int) -> None:
        """Loss and errors of one batch of held-out training frames.

        The loss has the weights that training has learned for it by now, and no teacher.
        """
        image = to_float(batch.image)
        if not self._validated:
            self._validated = (folded(self.best_network.eval(), image[:1]),)
        prediction = self._validated[0](image)
        errors = _errors(prediction.pose, batch.pose)
        losses = {"validation_loss": self._loss(prediction, batch.pose).total}
        if prediction.confidence is not None:
            losses["validation_confidence_loss"] = _confidence_loss(prediction.confidence, *errors)
        for name, value in losses.items():
            self._validation_means[name].update_mean(value, len(batch.image))
        self._errors.append(torch.stack(errors).cpu())

    def on_validation_epoch_start(self) -> None:
        """Forget a validation that was broken off."""
        for mean in self._validation_means.values():
            mean.reset()
        self._errors.clear()
        self._validated = ()

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss, the medians and the score that chooses the epoch."""
        errors = from_all(torch.cat(self._errors, dim=1))  # each process has its part of the frames
        rotation_deg, translation_m = torch.cat(errors, dim=1).double()
        rotation_median, translation_median = rotation_deg.median(), translation_m.median()
        values = {
            **{name: mean.reduce().mean for name, mean in self._validation_means.items()},
            "validation_rotation_deg": rotation_median,
            "validation_translation_m": translation_median,
            # The geometric mean needs no weight between degrees and metres.
            "validation_score": (rotation_median * translation_median).sqrt(),
        }
        self.log_dict({name: value.float() for name, value in values.items()}, logger=False)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Limit the gradients of the poses and of the confidence each by themselves.

        One common norm would let the confidence slow the poses down.
        """
        if gradient_clip_val is None:
            return
        own = list(self.network.confidence.parameters()) if self.network.has_confidence else []
        apart = {id(parameter) for parameter in own}
        others = [p for p in self.parameters() if p.grad is not None and id(p) not in apart]
        for parameters in (others, own):
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW in groups, warmed up linearly, then a cosine to zero."""
        config = self.optimization
        optimizer = torch.optim.AdamW(self._parameter_groups(), weight_decay=0.0, eps=_EPSILON)
        warmup = max(1, round(config.warmup_share * self.total_steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = (step - warmup) / max(1, self.total_steps - warmup)
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Decayed and undecayed weights of backbone and head; loss weights are never decayed."""
        config = self.optimization
        backbone = {id(p) for p in self.network.backbone.parameters()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for parameter in (*self.network.parameters(), *self.loss.parameters()):
            if parameter.requires_grad:
                decayed = parameter.ndim > 1  # neither biases nor norms nor log-variances
                groups.setdefault((id(parameter) in backbone, decayed), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": config.learning_rate * (config.backbone_rate if in_backbone else 1.0),
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
            for (in_backbone, decayed), parameters in groups.items()
        ]


def _confidence_loss(confidence: Confidence, rotation_deg: Tensor, translation_m: Tensor) -> Tensor:
    """How badly the scales of a batch foretell its errors, a scalar; nothing teaches the poses."""
    rotation = torch.deg2rad(rotation_deg.detach())
    return rotation_laplace_nll(
        rotation, confidence.rotation_scale.log()
    ) + translation_laplace_nll(translation_m.detach(), confidence.translation_scale.log())


def _errors(prediction: Pose, target: Pose) -> tuple[Tensor, Tensor]:
    """Rotation errors in degrees and translation errors in metres, each (B,)."""
    return (
        torch.rad2deg(geodesic_distance(prediction.rotation, target.rotation)),
        translation_distance(prediction.translation, target.translation),
    )
