"""How unlike the training images an image is: a density of the features that tell the pose."""

import torch
from torch import Tensor, nn

DIRECTIONS = 128
# So many training views for each direction: fewer would describe single views, not the scene.
_VIEWS_A_DIRECTION = 4


class FeatureDensity(nn.Module):
    """A Gaussian of feature vectors, in the directions in which training images differ.

    Probabilistic principal components: a variance for each of the first directions, one for all
    others together. What the pose is read from is known where the camera may look; pooled features
    of the backbone, which are usual for this, know the things of a scene but not their places, and
    cannot tell a room from its mirror image.

    Args:
        features: Length D of the feature vectors.

    Source: Tipping and Bishop, Probabilistic Principal Component Analysis, JRSS B 61(3), 1999; for
    telling images of other origin, Lee et al., A Simple Unified Framework for Detecting
    Out-of-Distribution Samples and Adversarial Attacks, NeurIPS 2018.
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    residual_variance: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("directions", torch.zeros(features, DIRECTIONS))
        self.register_buffer("variances", torch.ones(DIRECTIONS))
        self.register_buffer("residual_variance", torch.ones(()))

    def fit(self, features: Tensor) -> None:
        """Fit mean, directions and variances.

        Args:
            features: Of N training views, (N, D), N at least 2. Few views get few directions. Views
                as training makes them, turned and moved, count as usual; frames alone would make
                every new viewpoint look strange.
        """
        features = features.double()
        count, size = features.shape
        mean = features.mean(dim=0)
        centred = features - mean
        # The N x N matrix of products has the same eigenvalues as the far larger D x D one.
        values, vectors = torch.linalg.eigh(centred @ centred.T / count)
        # Features that are all the same would make every other one infinitely unlikely.
        least = float(torch.finfo(torch.float32).eps) * float(features.square().mean()) + 1e-12
        # A direction without variance is one of rounding, and there are no more than features.
        kept = min(DIRECTIONS, count // _VIEWS_A_DIRECTION, int((values > least).sum()))
        values, vectors = values.flip(0)[:kept], vectors.flip(1)[:, :kept]
        directions = centred.T @ vectors
        directions /= torch.linalg.vector_norm(directions, dim=0).clamp_min(1e-12)
        residual = (centred.square().sum() / count - values.sum()) / max(size - kept, 1)
        self.mean.copy_(mean)
        self.directions.zero_()
        self.directions[:, :kept].copy_(directions)
        self.variances.fill_(1.0)
        self.variances[:kept].copy_(values.clamp_min(least))
        self.residual_variance.copy_(residual.clamp_min(least))

    def forward(self, features: Tensor) -> Tensor:
        """Mean squared deviation of features in units of their variances.

        About 1 for training views.

        Args:
            features: (B, D).

        Returns:
            (B,), without unit.
        """
        centred = features - self.mean
        inside = centred @ self.directions
        # Not the difference of the two squared lengths, which cancels.
        outside = (centred - inside @ self.directions.T).square().sum(dim=-1)
        known = (inside.square() / self.variances).sum(dim=-1)
        return (known + outside / self.residual_variance) / features.shape[-1]
