"""How well images of other places are told from those of a scene, by which features.

    python scripts/benchmark_novelty.py runs/redkitchen --other fox --other bonsai

Held-out frames of the scene (validation; ``--split test`` for the test frames) against images of
other folders, cut to the same proportions; against the same frames mirrored, which is a room that
is nowhere; and against them at half the light, which is still the scene. The figures are the area
under the ROC curve (0.5 is chance) and the share above all held-out frames. Our novelty reads the
features that the pose is read from. Beside it the usual choice, features of the backbone averaged
over the image, with the same density and with the cosine distance to the nearest training image.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from posenet.datasets.images import read_image
from posenet.evaluation.confidence import cut_to_camera
from posenet.evaluation.evaluate import OpenedRun, open_run
from posenet.inference.photos import Pixels
from posenet.inference.sources import find_images
from posenet.models.network import PoseNetwork, to_float
from posenet.models.novelty import FeatureDensity

Score = Callable[[Tensor], Tensor]


def pooled(network: PoseNetwork, images: Tensor) -> Tensor:
    """Features of the backbone, averaged over the image."""
    images = (images - network.pixel_mean) / network.pixel_std
    return network.backbone(images).mean(dim=(2, 3))


def gather(features: Callable[[Tensor], Tensor], images: Iterable[Pixels]) -> Tensor:
    """Features of all images, (N, D)."""
    with torch.inference_mode():
        return torch.cat(
            [features(to_float(torch.from_numpy(i).permute(2, 0, 1)[None])) for i in images]
        )


def density(train: Tensor) -> Score:
    """Our density of some features."""
    fitted = FeatureDensity(train.shape[1])
    fitted.fit(train)
    return fitted


def nearest(train: Tensor) -> Score:
    """Cosine distance to the nearest training image."""
    train = torch.nn.functional.normalize(train)
    return lambda x: 1.0 - (torch.nn.functional.normalize(x) @ train.T).amax(dim=1)


def auroc(other: Tensor, own: Tensor) -> float:
    """How often another image scores higher than one of the scene."""
    ranks = stats.rankdata(torch.cat((other, own)).numpy())[: len(other)]
    return float((ranks.mean() - (len(other) + 1) / 2) / len(own))


def compared_images(opened: OpenedRun, others: list[Path]) -> dict[str, list[Pixels]]:
    """Images by where they are from; the first are those of the scene."""
    localizer = opened.localizer
    own = [opened.scene.images.color_image(i) for i in opened.indices]
    sets = {"held out": own}
    sets["half the light"] = [(image // 2).astype(np.uint8) for image in own]
    sets["mirrored"] = [np.ascontiguousarray(image[:, ::-1]) for image in own]
    for folder in others:
        images = (cut_to_camera(read_image(path), localizer) for path in find_images(folder))
        sets[folder.name] = [localizer.fit(image) for image in images]
    return sets


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--root", help="where the dataset lies now")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--other", type=Path, action="append", default=[], help="folder of images")
    args = parser.parse_args()
    opened = open_run(args.run, args.root, args.split)
    network = opened.localizer.network
    sets = compared_images(opened, args.other)
    train = [opened.scene.images.color_image(i) for i in opened.scene.split.train]
    print("features, score".ljust(36), *(name.rjust(16) for name in list(sets)[1:]))
    for name, features, scores in (
        ("pose features", network.embed, {"density": density}),
        (
            "pooled backbone",
            lambda images: pooled(network, images),
            {"density": density, "nearest": nearest},
        ),
    ):
        known = gather(features, train)
        found = {where: gather(features, images) for where, images in sets.items()}
        for score_name, make in scores.items():
            values = {where: make(known)(x) for where, x in found.items()}
            own = values.pop("held out")
            cells = [
                f"{auroc(other, own):.3f} {(other > own.max()).double().mean():4.0%}".rjust(16)
                for other in values.values()
            ]
            print(f"{name}, {score_name}".ljust(36), *cells)


if __name__ == "__main__":
    main()
