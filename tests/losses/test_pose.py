"""The loss of a pose: its terms, their weights, and that minimising it helps."""

import dataclasses

import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.config import LossConfig
from posenet.errors import UsageError
from posenet.geometry import REPRESENTATIONS, Pose
from posenet.losses import ROBUST_LOSSES, ROTATION_LOSSES, PoseLoss

# Each row of each table; the terms do not know of each other, so not each with each.
EVERY_ROW = [
    *((rotation, "l1") for rotation in ROTATION_LOSSES),
    *(("geodesic", translation) for translation in ROBUST_LOSSES if translation != "l1"),
]
ALL_PAIRS = pytest.mark.parametrize(("rotation", "translation"), EVERY_ROW)
WEIGHTINGS = pytest.mark.parametrize("weighting", ["learned", "fixed"])
COUNT = 6


def random_poses(seed: int, dtype: torch.dtype = torch.float64) -> Pose:
    rotation = torch.tensor(Rotation.random(COUNT, random_state=seed).as_matrix(), dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    return Pose(rotation, torch.randn(COUNT, 3, generator=generator, dtype=dtype))


def fixed(rotation: str, translation: str, **weights: float) -> LossConfig:
    return LossConfig(rotation, translation, 0.3, weighting="fixed", **weights)


def move_world(pose: Pose, turn: torch.Tensor, shift: torch.Tensor) -> Pose:
    return Pose(turn @ pose.rotation, pose.translation @ turn.T + shift)


@ALL_PAIRS
@WEIGHTINGS
def test_every_gradient_is_finite(rotation, translation, weighting):
    loss = PoseLoss(LossConfig(rotation, translation, weighting=weighting))
    prediction = Pose(*(part.requires_grad_() for part in random_poses(0, torch.float32)))
    loss(prediction, random_poses(1, torch.float32)).total.backward()
    for tensor in (*prediction, *loss.parameters()):
        assert tensor.grad.isfinite().all()
        assert (tensor.grad != 0).any()


@ALL_PAIRS
@WEIGHTINGS
def test_a_perfect_prediction_costs_nothing_and_stays(rotation, translation, weighting):
    loss = PoseLoss(LossConfig(rotation, translation, weighting=weighting))
    target = random_poses(0, torch.float32)
    prediction = Pose(*(part.clone().requires_grad_() for part in target))
    terms = loss(prediction, target)
    assert [term.item() for term in terms] == [0.0, 0.0, 0.0]
    terms.total.backward()
    for part in prediction:
        assert torch.equal(part.grad, torch.zeros_like(part))


@ALL_PAIRS
def test_the_axes_and_the_origin_of_the_world_do_not_matter(rotation, translation):
    loss = PoseLoss(LossConfig(rotation, translation, translation_scale=0.7))
    prediction, target = random_poses(0), random_poses(1)
    turn = torch.tensor(Rotation.from_rotvec([0.4, -1.1, 0.8]).as_matrix())
    shift = torch.tensor([3.0, -20.0, 0.5], dtype=torch.float64)
    moved = loss(*(move_world(pose, turn, shift) for pose in (prediction, target)))
    for before, after in zip(loss(prediction, target), moved, strict=True):
        torch.testing.assert_close(after, before, rtol=1e-12, atol=0.0)


@ALL_PAIRS
def test_terms_are_means_of_angle_and_distance(rotation, translation):
    prediction, target = random_poses(0), random_poses(1)
    terms = PoseLoss(fixed(rotation, translation))(prediction, target)
    angles = ROTATION_LOSSES[rotation].function(
        prediction.rotation, target.rotation, reduction="none"
    )
    distances = (prediction.translation - target.translation).square().sum(dim=1).sqrt()
    torch.testing.assert_close(terms.rotation, angles.sum() / COUNT)
    costs = ROBUST_LOSSES[translation].function(distances, scale=0.3, reduction="none")
    torch.testing.assert_close(terms.translation, costs.sum() / COUNT)


@ALL_PAIRS
def test_fixed_weights_multiply_the_terms(rotation, translation):
    loss = PoseLoss(fixed(rotation, translation, rotation_weight=4.0, translation_weight=0.25))
    terms = loss(random_poses(0), random_poses(1))
    torch.testing.assert_close(terms.total, 4.0 * terms.rotation + 0.25 * terms.translation)
    assert list(loss.parameters()) == []


def test_learned_weights_are_log_variances():
    loss = PoseLoss(LossConfig(weighting="learned"))
    assert [name for name, _ in loss.named_parameters()] == ["log_variance"]
    s = torch.tensor([0.3, -0.7])  # rotation, translation
    loss.load_state_dict({"log_variance": s})
    total, rotation, translation = loss(random_poses(0), random_poses(1))
    values = torch.stack((rotation, translation))
    torch.testing.assert_close(total, ((-s).exp() * values + s).sum())
    total.backward()
    expected = 1.0 - (-s).exp() * values
    torch.testing.assert_close(loss.log_variance.grad, expected.float())


def test_learned_weights_start_even():
    terms = PoseLoss(LossConfig(weighting="learned"))(random_poses(0), random_poses(1))
    torch.testing.assert_close(terms.total, terms.rotation + terms.translation)


@ALL_PAIRS
@WEIGHTINGS
@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_two_steps_of_adam_lower_the_loss(rotation, translation, weighting, representation):
    loss = PoseLoss(LossConfig(rotation, translation, weighting=weighting))
    form = REPRESENTATIONS[representation]
    start, target = random_poses(0), random_poses(1)
    raw = form.from_rotation(start.rotation).requires_grad_()
    center = start.translation.requires_grad_()
    optimizer = torch.optim.Adam([raw, center, *loss.parameters()], lr=1e-3)
    totals = []
    for _ in range(3):
        total = loss(Pose(form.to_rotation(raw), center), target).total
        totals.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert totals[0] > totals[1] > totals[2]


def test_a_shape_is_handed_on():
    poses = random_poses(0), random_poses(1)
    welsch = PoseLoss(fixed("geodesic", "welsch"))(*poses).translation
    config = dataclasses.replace(fixed("geodesic", "general_robust"), translation_alpha=-1e9)
    torch.testing.assert_close(PoseLoss(config)(*poses).translation, welsch)


@WEIGHTINGS
def test_a_learned_scale_is_weighed_once(weighting):
    """A log-variance on top of a likelihood, which can be negative, would go to minus infinity."""
    loss = PoseLoss(
        LossConfig(translation="general_robust", translation_learned=True, weighting=weighting)
    )
    names = {name for name, _ in loss.named_parameters() if name != "log_variance"}
    assert names == {"translation_loss.alpha_logit", "translation_loss.log_scale"}
    target = random_poses(0)
    prediction = Pose(target.rotation, target.translation + 1e-3)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.1)
    for _ in range(300):
        terms = loss(prediction, target)
        assert terms.total.isfinite()
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
    assert terms.translation < 0.0
    if weighting == "learned":
        assert loss.log_variance.shape == (1,)
        torch.testing.assert_close(
            loss(prediction, target).total,
            loss.log_variance.detach().sum().double() + loss(prediction, target).translation,
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotation": "geodesi"}, "unknown rotation loss 'geodesi', did you mean 'geodesic'"),
        ({"translation": "hubber"}, "unknown translation loss 'hubber', did you mean 'huber'"),
        ({"translation": "xyz"}, "unknown translation loss 'xyz'; known: l2, l1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        PoseLoss(LossConfig(**settings))
