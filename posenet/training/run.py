"""A training run, from settings to a run folder.

A run folder holds ``config.yaml``, ``environment.json``, ``split.json``, ``metrics.csv``,
TensorBoard's events, ``training_curves.png`` and ``checkpoints/`` with ``best.pt`` (chosen by
validation), ``last.pt`` and ``resume.ckpt`` (see :mod:`posenet.training.resume`).
"""

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from posenet.config import Config, dump_config
from posenet.datasets.frame import Frame
from posenet.datasets.loader import plain_loader
from posenet.datasets.resampling import common_lens
from posenet.datasets.scene import Scene, load_scene, resolve_data
from posenet.datasets.streaming import training_batches
from posenet.evaluation.plots import plot_training_curves
from posenet.models.checkpoint import Checkpoint, read_whole, remove_left_over, whole_file
from posenet.models.network import PoseNetwork
from posenet.process_group import first_of_machine, from_main, process_group, share_cores
from posenet.processes import World
from posenet.progress import report_progress, say
from posenet.staging import require_place
from posenet.training.calibration import calibrate
from posenet.training.callbacks import (
    KeepCheckpoints,
    ShowProgress,
    WriteMetrics,
)
from posenet.training.compiling import compiled
from posenet.training.distillation import load_teacher, require_fit_teacher
from posenet.training.fitting import fit_bins, fit_statistics
from posenet.training.kept_views import keep_views
from posenet.training.memory import explain_lack_of_memory
from posenet.training.module import TrainingModule
from posenet.training.requirements import (
    accelerator_of,
    require_processes,
    require_statistics,
    require_trainable,
)
from posenet.training.resume import (
    PREVIOUS,
    RESUME,
    KeepResumable,
    ResumeFiles,
    find_resumable,
    require_fresh,
    require_same_run,
    require_same_split,
    say_what_changed,
)
from posenet.training.trainer import fit, make_trainer, quiet_lightning
from posenet.version import __version__

_KNOWN_FRAMES = 64  # by which a checkpoint knows its dataset again


class TrainingResult(NamedTuple):
    """What a run led to.

    Attributes:
        folder: The run folder.
        best_epoch: The epoch kept as best; 0 without validation.
    """

    folder: Path
    best_epoch: int


def train(config: Config, *, resume: bool = False) -> TrainingResult:
    """Train a network and leave a run folder.

    Args:
        config: The settings.
        resume: Continue the run in ``config.output`` instead of starting one: after its last whole
            epoch, or from the beginning, or with what comes after the training.

    Raises:
        PosenetError: The data or the settings cannot be used, or the folder holds another run.
        KeyboardInterrupt: The user stopped it; the folder holds a usable checkpoint.
    """
    quiet_lightning()
    # Refused before images are decoded.
    require_trainable(config)
    require_processes(config)
    on_gpu = accelerator_of(config.trainer.accelerator) == "gpu"
    with process_group(on_gpu) as world:
        share_cores(world, config.trainer.threads)
        return _train(config, resume, world, f"cuda:{world.local_rank}" if on_gpu else "cpu")


def _train(config: Config, resume: bool, world: World, device: str) -> TrainingResult:
    """Train, as one of some processes; the first of them writes."""
    folder = run_folder(config)
    checkpoints = folder / "checkpoints"
    steps_behind = None
    if world.is_main:
        if resume:
            config = require_same_run(config, folder)
            steps_behind = find_resumable(checkpoints)
        else:
            require_fresh(folder)
        require_place(folder, "--output")
    config, steps_behind = from_main((config, steps_behind))
    config = replace(config, data=resolve_data(config.data))
    teacher = load_teacher(config, device)

    lightning.seed_everything(config.seed, verbose=False)
    wants_depth = config.augment.depth_share > 0 or config.augment.fill_from > 0
    with first_of_machine(), report_progress("decoding images") as report:
        scene = load_scene(config.data, with_depth=wants_depth, for_training=True, report=report)
    say(
        f"{config.data.root}: {len(scene.split.train)} training, "
        f"{len(scene.split.validation)} validation, {len(scene.split.test)} test frames"
    )
    length = "m" if scene.metric else "units"
    if not scene.metric and scene.images.has_depth and config.augment.shift_m > 0:
        say(
            f"augment.shift_m: {config.augment.shift_m:g} is in the scene's own units; its "
            f"training positions extend over {_extent(scene):.3g}"
        )
    if config.data.stream and config.augment.fill_from > 0:
        say("augment.fill_from: has no effect on frames that are streamed from shards")
    names = _split_names(scene)
    if resume:
        require_same_split(folder / "split.json", names)
        if steps_behind is None:
            say(f"{folder}: no epoch was finished; beginning again")
    network = PoseNetwork(config.model, config.data)
    training_frames = [scene.frames[i] for i in scene.split.train]
    fit_statistics(network, scene)
    if teacher is not None:
        require_fit_teacher(teacher, config, scene)
        network.bins.load_state_dict(teacher.network.bins.state_dict())
        say(f"{config.model.bins} viewpoint bins of the teacher {config.distill.teacher}")
    elif found := fit_bins(network, scene, config):
        say(found)
    kept_views = None
    if config.optimization.kept_views:
        if steps_behind is not None:
            _load_weights(network, checkpoints / RESUME)  # of the frozen layers
        kept_views = keep_views(network, scene, config, device)
    loader = training_batches(
        scene,
        config.data,
        config.augment,
        batch_size=config.optimization.batch_size,
        views=config.optimization.views,
        seed=config.seed,
        world=world,
        kept=kept_views,
    )
    require_statistics(config, loader.batch_sampler.batch_size)
    # Lightning 2.5.3 to 2.6.6 has workers draw the first batches before it sets the epoch (#21938).
    loader.batch_sampler.sampler.set_epoch((steps_behind or 0) // len(loader))
    total_steps = len(loader) * config.optimization.epochs
    module = TrainingModule(
        network,
        config.loss,
        config.optimization,
        total_steps,
        config.seed,
        teacher.network if teacher is not None else None,
        config.distill,
        [frame.name for frame in scene.frames],
        kept_views is not None,
    )

    if world.is_main:
        checkpoints.mkdir(parents=True, exist_ok=True)
        for place in (folder, checkpoints):
            remove_left_over(place)
        if steps_behind is None:
            _describe_run(folder, config, names, world)
        else:
            say_what_changed(folder / "environment.json", _environment(world))
    intrinsics, distortion = common_lens(training_frames)
    keeper = KeepCheckpoints(
        checkpoints,
        lambda network, epoch: Checkpoint(
            network,
            config,
            intrinsics,
            Path(config.data.root).resolve().name,
            epoch,
            distortion,
            scene.metric,
            tuple(scene.origin.tolist()),
            turns_photos=scene.turns_photos,
            known_centers=_known_centers(training_frames),
        ),
        config.optimization.patience if scene.split.validation else 0,
    )
    metrics = WriteMetrics(folder / "metrics.csv")
    callbacks = [keeper, metrics, ShowProgress(length), KeepResumable(checkpoints / RESUME)]
    # What TensorBoard was told of later steps, which a kill took, is hidden.
    step = (steps_behind or 0) + 1
    logger = TensorBoardLogger(folder, name="tensorboard", version="", purge_step=step)
    trainer = make_trainer(
        *(config, world, ResumeFiles()),
        callbacks=callbacks,
        logger=logger,
        default_root_dir=folder,
    )
    validation = None
    if scene.split.validation:
        size = config.optimization.batch_size
        validation = plain_loader(scene, scene.split.validation, size, world)
    with explain_lack_of_memory(config), compiled(network, config):
        fit(
            trainer,
            module,
            loader,
            validation,
            None if steps_behind is None else checkpoints / RESUME,
        )
        if world.is_main:
            kept = [checkpoints / name for name in ("best.pt", "last.pt")]
            calibrate([path for path in kept if path.is_file()], scene, config, device)
    if world.is_main:
        plot_training_curves(folder / "training_curves.png", metrics.rows, length)
        (checkpoints / PREVIOUS).unlink(missing_ok=True)
    return TrainingResult(folder, keeper.best_epoch)


def _load_weights(network: PoseNetwork, resume_file: Path) -> None:
    """Those that a run had when it was stopped."""
    prefix = "network."
    state = read_whole(resume_file)["state_dict"]
    network.load_state_dict(
        {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    )


def run_folder(config: Config) -> Path:
    """The folder of a run: ``output``, or ``runs/`` and the name of the scene."""
    if config.output:
        return Path(config.output)
    return Path("runs") / (Path(config.data.root).resolve().name or "run")


def _environment(world: World) -> dict[str, object]:
    packages = ("torch", "torchvision", "lightning", "kornia", "roma", "opencv-python", "numpy")
    return {
        "posenet": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "processes": world.size,
        "command": sys.argv,
        **{name: _version(name) for name in packages},
    }


def _describe_run(folder: Path, config: Config, names: dict[str, list[str]], world: World) -> None:
    texts = {
        "environment.json": json.dumps(_environment(world), indent=2) + "\n",
        "split.json": json.dumps(names, indent=1) + "\n",
        "config.yaml": dump_config(config),  # last: a run that has it can be resumed
    }
    for name, text in texts.items():
        with whole_file(folder / name) as file:
            file.write(text.encode())


def _extent(scene: Scene) -> float:
    """Diagonal of the box around the training positions."""
    centers = scene.poses(scene.split.train).translation
    return float((centers.amax(dim=0) - centers.amin(dim=0)).norm())


def _known_centers(frames: Sequence[Frame]) -> dict[str, tuple[float, ...]]:
    """Where some frames of all parts of the recordings stood."""
    chosen = {i * len(frames) // _KNOWN_FRAMES for i in range(_KNOWN_FRAMES)}
    return {frames[i].name: tuple(frames[i].pose.translation.tolist()) for i in sorted(chosen)}


def _split_names(scene: Scene) -> dict[str, list[str]]:
    return {
        part: [scene.frames[i].name for i in indices]
        for part, indices in scene.split._asdict().items()
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # OpenCV goes by several names
        return None
