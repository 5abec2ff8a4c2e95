"""The averaged weights, the schedule, the parameter groups, and the means that are logged."""

import copy
import csv
from contextlib import nullcontext
from fractions import Fraction

import lightning
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from posenet.config import DataConfig, LossConfig, ModelConfig, OptimizationConfig
from posenet.datasets.loader import Sample
from posenet.errors import DataError
from posenet.geometry import Pose, geodesic_distance, rotation_from_rotvec
from posenet.losses import rotation_laplace_nll, translation_laplace_nll
from posenet.models.network import PoseNetwork, to_float
from posenet.training import module as training_module
from posenet.training.callbacks import ShowProgress, WriteMetrics
from posenet.training.module import TrainingModule


def make_network(**settings) -> PoseNetwork:
    model = ModelConfig(
        backbone="mobilenet_v3_small",
        weights="none",
        frozen_share=0.1,
        **{"mode": "regression"} | settings,
    )
    return PoseNetwork(model, DataConfig(width=64, height=48))


@pytest.fixture(scope="module")
def network():
    return make_network()


def make_module(network, **settings):
    return TrainingModule(network, LossConfig(), OptimizationConfig(**settings), total_steps=100)


@pytest.mark.parametrize(("steps", "low", "high"), [(5, 3.0, 5.0), (60, 50.0, 60.0)])
def test_the_average_follows_even_in_short_runs(network, steps, low, high):
    """A constant decay of 0.99 would keep about step 16 of 60."""
    module = make_module(network, ema_decay=0.99)
    with torch.no_grad():
        for step in range(1, steps + 1):
            for parameter in network.parameters():
                parameter.fill_(step)
            module.on_train_batch_end()
    averages = {float(p.detach().mean()) for p in module.best_network.parameters()}
    assert max(averages) - min(averages) < 1e-3
    assert low < averages.pop() < high


def test_the_average_reaches_its_decay(network):
    module = make_module(network, ema_decay=0.9)
    kept, new = torch.zeros(3), torch.ones(3)
    module._average([kept], [new], torch.tensor(10_000))
    torch.testing.assert_close(kept, torch.full((3,), 0.1))
    count, new_count = torch.tensor(3), torch.tensor(7)
    module._average([count], [new_count], torch.tensor(5))
    assert count == 7


def test_without_averaging_the_network_itself_is_kept(network):
    module = make_module(network, ema_decay=0.0)
    assert module.averaged is None
    assert module.best_network is network


def test_the_rate_rises_then_falls_to_zero(network):
    settings = make_module(network, learning_rate=0.5, warmup_share=0.1).configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(100):
        rates.append(max(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(0.5)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert rates[-1] < 0.001


def test_every_trained_weight_is_in_one_group_and_only_matrices_decay(network):
    module = make_module(network, learning_rate=1.0, backbone_rate=0.25, weight_decay=0.1)
    optimizer = module.configure_optimizers()["optimizer"]
    found = [p for group in optimizer.param_groups for p in group["params"]]
    expected = [p for p in (*network.parameters(), *module.loss.parameters()) if p.requires_grad]
    assert {id(p) for p in found} == {id(p) for p in expected}
    assert len(found) == len(expected)
    in_backbone = {id(p) for p in network.backbone.parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
            assert group["initial_lr"] == (0.25 if id(parameter) in in_backbone else 1.0)
    undecayed = [g for g in optimizer.param_groups if g["weight_decay"] == 0.0]
    assert any(p is module.loss.log_variance for g in undecayed for p in g["params"])


# --- the means that are logged ----------------------------------------------------------------

TRAIN, VALIDATION, BATCH = 8, 5, 3  # ragged: 3 + 3 + 2 and 3 + 2


def frames(count: int, seed: int) -> list[Sample]:
    generator = torch.Generator().manual_seed(seed)
    rotations = rotation_from_rotvec(0.5 * torch.randn(count, 3, generator=generator))
    return [
        Sample(
            torch.randint(256, (3, 48, 64), generator=generator, dtype=torch.uint8),
            Pose(rotation, 3.0 * torch.randn(3, generator=generator)),
            index,
        )
        for index, rotation in enumerate(rotations)
    ]


class Watch(lightning.Callback):
    """What a callback finds at the end of each epoch, and what it was made of."""

    def __init__(self, validation: Sample) -> None:
        self.validation = validation
        self.losses: list[tuple[float, float, int]] = []  # pose, confidence, images
        self.errors: list[Tensor] = []  # (2, images) of a batch
        self.found: list[dict[str, Tensor]] = []
        self.expected: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer, module):
        self.losses.clear()
        self.errors.clear()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        losses = [float(outputs[f"train_{name}"]) for name in ("loss", "confidence_loss")]
        assert float(outputs["loss"]) == pytest.approx(sum(losses), rel=1e-6)
        self.losses.append((*losses, len(batch.image)))

    def on_train_epoch_end(self, trainer, module):
        count = len(self.losses)
        rotation, translation = (
            torch.cat([errors[row] for errors in self.errors[:count]]).tolist() for row in (0, 1)
        )
        images = sum(images for *_, images in self.losses)
        pose, confidence = (
            sum(Fraction(losses[i]) * losses[-1] for losses in self.losses) / images for i in (0, 1)
        )
        values = {
            "train_loss": float(pose),
            "train_confidence_loss": float(confidence),
            "train_rotation_deg": float(sum(map(Fraction, rotation)) / len(rotation)),
            "train_translation_m": float(sum(map(Fraction, translation)) / len(translation)),
        }
        if trainer.val_dataloaders is not None:
            network, validation = module.best_network.eval(), self.validation
            with torch.no_grad():
                prediction = network(to_float(validation.image))
                whole = module.loss(prediction.pose, validation.pose)
                angle = geodesic_distance(prediction.pose.rotation, validation.pose.rotation)
                distance = torch.linalg.vector_norm(
                    prediction.pose.translation - validation.pose.translation, dim=1
                )
            values["validation_loss"] = float(whole.total)
            scales = prediction.confidence
            values["validation_confidence_loss"] = float(
                rotation_laplace_nll(angle, scales.rotation_scale.log())
                + translation_laplace_nll(distance, scales.translation_scale.log())
            )
            medians = torch.cat(self.errors[count:], dim=1).double().median(dim=1).values
            values["validation_rotation_deg"] = float(medians[0])
            values["validation_translation_m"] = float(medians[1])
            values["validation_score"] = float(medians.prod().sqrt())
        self.expected.append(values)
        self.found.append(dict(trainer.callback_metrics))


@pytest.fixture
def fit(monkeypatch, tmp_path):
    """Train two epochs; returns what was found and what was expected."""
    measure = training_module._errors

    def fit(weighting: str = "learned", validates: bool = True, **options: object) -> Watch:
        validation = frames(VALIDATION, 1)
        watch = Watch(next(iter(DataLoader(validation, batch_size=VALIDATION))))

        def spy(prediction, target):
            errors = measure(prediction, target)
            watch.errors.append(torch.stack(errors).clone())
            return errors

        monkeypatch.setattr(training_module, "_errors", spy)
        loss = LossConfig(weighting=weighting, rotation_weight=2.0)
        torch.manual_seed(0)
        module = TrainingModule(make_network(), loss, OptimizationConfig(), total_steps=6)
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=2,
            callbacks=[watch, WriteMetrics(tmp_path / "metrics.csv"), ShowProgress()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
            **options,
        )
        loaders = [
            DataLoader(frames(TRAIN, 0), batch_size=BATCH),
            DataLoader(validation, batch_size=BATCH) if validates else None,
        ]
        trainer.fit(module, *loaders)
        return watch

    return fit


@pytest.mark.filterwarnings("ignore")  # Lightning's advice
@pytest.mark.parametrize("weighting", ["learned", "fixed"])
def test_callbacks_find_exact_means_over_the_images_of_an_epoch(fit, weighting, tmp_path, capfd):
    watch = fit(weighting)
    assert len(watch.found) == 2
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for found, expected, row in zip(watch.found, watch.expected, rows, strict=True):
        assert found.keys() == expected.keys() == row.keys() - {"epoch", "step", "learning_rate"}
        for name, value in expected.items():
            # Predictions of other batch sizes differ by rounding; all else is the nearest float32.
            of_another_batch = name in ("validation_loss", "validation_confidence_loss")
            rel = 1e-4 if of_another_batch else 6e-8
            assert found[name].dtype == torch.float32
            assert found[name].item() == pytest.approx(value, rel=rel, abs=1e-5 * (rel > 1e-6))
            assert float(row[name]) == found[name].item()
    assert watch.found[0]["train_loss"] != watch.found[1]["train_loss"]
    shown = capfd.readouterr().err
    assert f"training {float(watch.found[1]['train_rotation_deg']):6.2f} deg" in shown


@pytest.mark.filterwarnings("ignore")
def test_batches_count_by_their_images(fit):
    """A mean of batch means is another number: the last batch is smaller."""
    watch = fit(validates=False)
    losses, _, sizes = zip(*watch.losses, strict=True)
    assert sizes == (3, 3, 2)
    found = watch.found[-1]["train_loss"].item()
    assert abs(found - sum(losses) / 3) > 1e-4 * abs(found)


@pytest.mark.filterwarnings("ignore")
def test_a_shortened_epoch_without_validation_has_its_means(fit):
    watch = fit(validates=False, limit_train_batches=2)
    for found, expected in zip(watch.found, watch.expected, strict=True):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].item() == pytest.approx(value, rel=6e-8)


def test_a_teacher_with_other_bins_than_the_run_has_is_refused():
    """Another one than a resumed run began with."""
    model = ModelConfig(backbone="mobilenet_v3_small", weights="none", bins=3)
    ours, same, other = (PoseNetwork(model, DataConfig(width=64, height=48)) for _ in range(3))
    other.bins.translation.fill_(1.0)
    for teacher, fits in ((same, True), (other, False)):
        module = TrainingModule(ours, LossConfig(), OptimizationConfig(), 10, 0, teacher)
        with nullcontext() if fits else pytest.raises(DataError, match="other viewpoint bins"):
            module.on_train_start()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["regression", "coarse_to_fine"])
def test_confidence_costs_the_poses_nothing(mode, tmp_path):
    """Every other weight ends where it would without confidence, to the bit."""
    trained = {}
    for confidence in (True, False):
        torch.manual_seed(0)
        network = make_network(mode=mode, bins=2, confidence=confidence)
        module = TrainingModule(network, LossConfig(), OptimizationConfig(), total_steps=6)
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=2,
            # Small enough to matter: the confidence must not use up the others' share.
            gradient_clip_val=0.01,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        if confidence:
            before = copy.deepcopy(network.state_dict())
        trainer.fit(module, DataLoader(frames(TRAIN, 0), batch_size=BATCH))
        trained[confidence] = network.state_dict()
    for name, value in trained[False].items():
        assert torch.equal(value, trained[True][name]), name
    learned = trained[True]["confidence.2.weight"]
    assert not torch.equal(learned, before["confidence.2.weight"])
