"""The density of features: an oracle, few images, and what it must tell apart."""

import numpy as np
import pytest
import torch
from scipy import stats

from posenet.models.novelty import DIRECTIONS, FeatureDensity


def made_up_features(count: int, size: int = 200, seed: int = 0) -> torch.Tensor:
    """Few strong directions in much weak noise, as features of a scene have."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(size, 10, generator=torch.Generator().manual_seed(1))).Q
    strong = torch.randn(count, 10, generator=generator) * torch.linspace(5.0, 1.0, 10)
    return 3.0 + strong @ basis.T + 0.1 * torch.randn(count, size, generator=generator)


def fitted(features: torch.Tensor) -> FeatureDensity:
    density = FeatureDensity(features.shape[1])
    density.fit(features)
    return density


def test_it_is_the_mahalanobis_distance_of_the_model():
    features = made_up_features(400)
    density = fitted(features)
    directions = density.directions.double()
    covariance = directions @ torch.diag(
        density.variances.double() - density.residual_variance.double()
    ) @ directions.T + density.residual_variance.double() * torch.eye(200)
    centred = (features - density.mean).double()
    expected = (centred * torch.linalg.solve(covariance, centred.T).T).sum(dim=1) / 200
    torch.testing.assert_close(density(features).double(), expected, rtol=1e-4, atol=1e-5)


def test_variances_are_those_of_the_principal_components():
    features = made_up_features(400)
    density = fitted(features)
    values = np.linalg.eigvalsh(np.cov(features.double().numpy().T, bias=True))[::-1].copy()
    kept = min(DIRECTIONS, 400 // 4)
    torch.testing.assert_close(
        density.variances[:kept].double(), torch.from_numpy(values[:kept]), rtol=1e-4, atol=1e-6
    )
    assert float(density.residual_variance) == pytest.approx(values[kept:].mean(), rel=1e-4)


@pytest.mark.parametrize(("size", "count"), [(12, 600), (32, 600), (96, 1000), (128, 512)])
def test_features_that_are_few_leave_no_direction_of_rounding(size, count):
    features = made_up_features(count, size)
    density = fitted(features)
    assert density(features).mean() == pytest.approx(1.0, abs=0.02)
    assert density.residual_variance > 0
    strange = density(features.flip(1) + 2.0)
    assert strange.isfinite().all()
    assert strange.mean() > 3.0


def test_training_images_are_about_one_and_others_of_the_scene_a_little_more():
    density = fitted(made_up_features(400))
    assert density(made_up_features(400)).mean() == pytest.approx(1.0, abs=0.02)
    assert 1.0 < density(made_up_features(400, seed=5)).mean() < 2.0


def test_what_no_training_image_shows_is_novel():
    density = fitted(made_up_features(400))
    known = density(made_up_features(200, seed=5)).numpy()
    for other in (
        made_up_features(200, seed=6).flip(1),  # the same numbers in other places
        made_up_features(200, seed=6) + 1.0,
        3.0 + torch.randn(200, 200),
    ):
        novel = density(other).numpy()
        assert stats.mannwhitneyu(novel, known).statistic / (200 * 200) > 0.99


@pytest.mark.parametrize("count", [2, 5, 27, 64])
def test_few_images_are_enough(count):
    features = made_up_features(count)
    density = fitted(features)
    used = (density.directions.abs().sum(dim=0) > 0).sum()
    assert used == min(DIRECTIONS, count // 4)
    assert density(features).isfinite().all()
    far = density(made_up_features(50, seed=9).flip(1))
    assert far.mean() > 1.5 * density(features).mean()


def test_images_that_are_all_the_same_leave_it_finite():
    features = torch.full((20, 50), 2.0)
    density = fitted(features)
    assert density(features).isfinite().all()
    assert density(features + 1.0).isfinite().all()
    assert (density(features + 1.0) > density(features)).all()


def test_order_of_the_images_and_shape_of_the_batch_do_not_matter():
    features = made_up_features(100)
    one, other = fitted(features), fitted(features.flip(0))
    torch.testing.assert_close(one(features), other(features), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one(features[:3]), one(features)[:3], rtol=1e-5, atol=1e-6)
    assert one(features[:0]).shape == (0,)
