"""A training run, from settings to a run folder.

A run folder holds ``config.yaml``, ``environment.json``, ``split.json``, ``metrics.csv``,
TensorBoard's events, ``training_curves.png`` and ``checkpoints/`` with ``best.pt`` (chosen by
validation), ``last.pt`` and ``resume.ckpt``.
"""

import json
import logging
import platform
import signal
import sys
import threading
import warnings
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from posenet.config import Config, config_to_dict, dump_config, load_config
from posenet.datasets.loader import plain_loader, training_loader, training_poses
from posenet.datasets.resampling import common_lens
from posenet.datasets.scene import Scene, load_scene, resolve_data
from posenet.errors import DataError, UsageError, look_up
from posenet.evaluation.plots import plot_training_curves, read_metrics
from posenet.geometry import REPRESENTATIONS, Pose
from posenet.losses import PoseLoss
from posenet.models.backbones import BACKBONES
from posenet.models.checkpoint import Checkpoint, read_split
from posenet.models.network import PoseNetwork
from posenet.models.viewpoints import BINNINGS, DECODINGS
from posenet.progress import report_progress, say
from posenet.staging import require_place
from posenet.training.calibration import calibrate
from posenet.training.callbacks import (
    KeepCheckpoints,
    ShowProgress,
    WriteMetrics,
)
from posenet.training.distillation import load_teacher, require_fit_teacher
from posenet.training.module import TrainingModule
from posenet.version import __version__

# Settings that may differ between a run and its continuation: they don't change what is learned.
_FREE_TO_CHANGE = {
    "output",
    "data.root",
    "data.cache",
    "data.workers",
    "distill.teacher",  # may have moved; another one would have other bins
    "trainer.accelerator",
}

_STRIDE = 32  # pixels that a feature of any backbone stands for

_VIEWS_TO_BIN = 3  # random views of each frame that viewpoint bins are fitted to, beside the frame


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
        resume: Continue the run in ``config.output`` instead of starting one.

    Raises:
        PosenetError: The data or the settings cannot be used, or the folder holds another run.
        KeyboardInterrupt: The user stopped it; the folder holds a usable checkpoint.
    """
    _quiet_lightning()
    # Refused before images are decoded.
    _accelerator(config.trainer.accelerator)
    _require_known_rows(config)
    folder = run_folder(config)
    checkpoints = folder / "checkpoints"
    resume_file = checkpoints / "resume.ckpt"
    config = _require_fresh_or_same(config, folder, resume_file, resume)
    require_place(folder, "--output")
    config = replace(config, data=resolve_data(config.data))
    teacher = load_teacher(config)

    lightning.seed_everything(config.seed, verbose=False)
    wants_depth = config.augment.depth_share > 0 or config.augment.fill_from > 0
    with report_progress("decoding images") as report:
        scene = load_scene(config.data, with_depth=wants_depth, report=report)
    say(
        f"{config.data.root}: {len(scene.split.train)} training, "
        f"{len(scene.split.validation)} validation, {len(scene.split.test)} test frames"
    )
    length = "m" if scene.metric else "units"
    if not scene.metric and scene.images.depth is not None and config.augment.shift_m > 0:
        say(
            f"augment.shift_m: {config.augment.shift_m:g} is in the scene's own units; its "
            f"training positions extend over {_extent(scene):.3g}"
        )
    names = _split_names(scene)
    if resume:
        _require_same_split(folder / "split.json", names)
    network = PoseNetwork(config.model, config.data)
    training_frames = [scene.frames[i] for i in scene.split.train]
    poses = scene.poses(scene.split.train)
    network.fit_statistics(Pose(poses.rotation.float(), poses.translation.float()))
    if teacher is not None:
        require_fit_teacher(teacher, config, scene)
        network.bins.load_state_dict(teacher.network.bins.state_dict())
        say(f"{config.model.bins} viewpoint bins of the teacher {config.distill.teacher}")
    elif network.bins is not None:
        views = training_poses(scene, config.augment, _VIEWS_TO_BIN, config.seed)
        sizes = network.bins.fit(views, config.model.binning, config.seed)
        say(f"{len(sizes)} viewpoint bins, of {sizes.min():d} to {sizes.max():d} training views")
    loader = training_loader(
        scene,
        config.data,
        config.augment,
        batch_size=config.optimization.batch_size,
        views=config.optimization.views,
        seed=config.seed,
    )
    _require_statistics(config, min(config.optimization.batch_size, len(loader.sampler)))
    total_steps = len(loader) * config.optimization.epochs
    module = TrainingModule(
        network,
        config.loss,
        config.optimization,
        total_steps,
        config.seed,
        teacher.network if teacher is not None else None,
        config.distill,
    )

    checkpoints.mkdir(parents=True, exist_ok=True)
    if not resume:
        _describe_run(folder, config, names)
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
        ),
    )
    shown = ShowProgress(length)
    trainer = _make_trainer(config, folder, keeper, shown, validates=bool(scene.split.validation))
    validation = plain_loader(scene, scene.split.validation, config.optimization.batch_size)
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(
            module,
            loader,
            validation if scene.split.validation else None,
            ckpt_path=resume_file if resume else None,
            weights_only=True,
        )
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)  # Lightning leaves Ctrl-C switched off
    calibrate(sorted(checkpoints.glob("*.pt")), scene, config)
    rows = read_metrics(folder / "metrics.csv")
    plot_training_curves(folder / "training_curves.png", rows, length)
    return TrainingResult(folder, keeper.best_epoch)


def _require_known_rows(config: Config) -> None:
    """Refuse names of rows that no table has."""
    PoseLoss(config.loss)
    look_up(BACKBONES, config.model.backbone, "backbone")
    look_up(REPRESENTATIONS, config.model.rotation, "rotation representation")
    look_up(BINNINGS, config.model.binning, "binning")
    look_up(DECODINGS, config.model.decoding, "decoding")


def _require_statistics(config: Config, images: int) -> None:
    """Refuse batches of which batch normalisation has but one value to learn from."""
    data = config.data
    if images == 1 and max(data.width, data.height) <= _STRIDE:
        raise UsageError(
            f"optimization.batch_size: expected more than one image of {data.width}x{data.height} "
            "pixels in a batch, which is too little for batch normalisation; use a larger "
            "--optimization.batch_size, --optimization.views or --data.width"
        )


def run_folder(config: Config) -> Path:
    """The folder of a run: ``output``, or ``runs/`` and the name of the scene."""
    if config.output:
        return Path(config.output)
    return Path("runs") / (Path(config.data.root).resolve().name or "run")


def _make_trainer(
    config: Config,
    folder: Path,
    keeper: KeepCheckpoints,
    shown: ShowProgress,
    *,
    validates: bool,
) -> lightning.Trainer:
    # Written after every epoch; Lightning writes it under another name first.
    resumable = ModelCheckpoint(
        dirpath=folder / "checkpoints",
        filename="resume",
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks: list[lightning.Callback] = [
        keeper,
        WriteMetrics(folder / "metrics.csv"),
        shown,
        resumable,
    ]
    if validates and config.optimization.patience > 0:
        callbacks.append(EarlyStopping("validation_score", patience=config.optimization.patience))
    logger = TensorBoardLogger(folder, name="tensorboard", version="")
    return lightning.Trainer(
        accelerator=_accelerator(config.trainer.accelerator),
        devices=1,
        precision=_precision(config),
        max_epochs=config.optimization.epochs,
        gradient_clip_val=config.optimization.gradient_clip or None,
        callbacks=callbacks,
        logger=logger,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        # Lightning's own sampler would shuffle by itself; ours is a function of (seed, epoch).
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def _accelerator(name: str) -> str:
    """What ``auto`` means: a CUDA GPU or the CPU. Apple's GPU has no float64, which 9d needs."""
    available = {"gpu": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if name in available and not available[name]():
        raise UsageError(
            f"trainer.accelerator: {name} was asked for, and torch finds none here; use auto or cpu"
        )
    if name == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    return name


def _precision(config: Config) -> str:
    if config.trainer.precision == "auto":
        on_gpu = _accelerator(config.trainer.accelerator) == "gpu"
        return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    return {"32": "32-true", "bf16": "bf16-mixed"}[config.trainer.precision]


def _require_fresh_or_same(config: Config, folder: Path, resume_file: Path, resume: bool) -> Config:
    """The settings, with what a resumed run had taken from its dataset; or an error."""
    if not resume:
        if any(resume_file.parent.glob("*")):
            cure = "continue it with --resume, or" if resume_file.is_file() else "delete it, or"
            raise DataError(
                f"{folder}: already holds a run; {cure} choose another folder with --output"
            )
        return config
    if not resume_file.is_file():
        raise DataError(
            f"{folder}: expected a run to resume, found no {resume_file.name} (it is written after "
            "the first epoch); start a run with another --output"
        )
    began = load_config(folder / "config.yaml")
    if config.data.camera is None:
        size = {"width": began.data.width, "height": began.data.height}
        if sorted(size.values()) != sorted((config.data.width, config.data.height)):
            size = {}
        config = replace(config, data=replace(config.data, camera=began.data.camera, **size))
    before, now = _flat(began), _flat(config)
    changed = [name for name in now if now[name] != before[name] and name not in _FREE_TO_CHANGE]
    if changed:
        raise UsageError(
            f"{folder}: cannot be resumed with another {changed[0]} (was {before[changed[0]]}, "
            f"now {now[changed[0]]}); start a new run with --output"
        )
    return config


def _flat(config: Config) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in config_to_dict(config).items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": item for key, item in value.items()})
        else:
            flat[name] = value
    return flat


def _describe_run(folder: Path, config: Config, names: dict[str, list[str]]) -> None:
    (folder / "config.yaml").write_text(dump_config(config))
    packages = ("torch", "torchvision", "lightning", "kornia", "roma", "opencv-python", "numpy")
    environment = {
        "posenet": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": sys.argv,
        **{name: _version(name) for name in packages},
    }
    (folder / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")
    (folder / "split.json").write_text(json.dumps(names, indent=1) + "\n")


def _extent(scene: Scene) -> float:
    """Diagonal of the box around the training positions."""
    centers = scene.poses(scene.split.train).translation
    return float((centers.amax(dim=0) - centers.amin(dim=0)).norm())


def _split_names(scene: Scene) -> dict[str, list[str]]:
    return {
        part: [scene.frames[i].name for i in indices]
        for part, indices in scene.split._asdict().items()
    }


def _require_same_split(path: Path, names: dict[str, list[str]]) -> None:
    before = read_split(path)
    for part, frames in names.items():
        if frames != before[part]:
            raise DataError(
                f"{path}: the {part} frames are not those the run began with ({len(before[part])} "
                f"then, {len(frames)} now); restore the dataset, or start a run with --output"
            )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # OpenCV goes by several names
        return None


def _quiet_lightning() -> None:
    """Its advice on workers, logging and its makers' products is not for our users."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
