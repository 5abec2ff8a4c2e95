"""Going on with a run that was stopped: from which file, and whether it is the same run.

``resume.ckpt`` is written after every epoch, when all other files of the epoch are on the disk, and
holds all that the rest of the run depends on. A run that was stopped at any moment goes back to it,
and does again, to the bit, what was lost.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import CheckpointIO

from posenet.config import Config, config_to_dict, load_config
from posenet.errors import CheckpointError, DataError, UsageError
from posenet.models.checkpoint import read_split, read_whole, write_atomically
from posenet.progress import say

RESUME, PREVIOUS = "resume.ckpt", "resume.previous.ckpt"

# Settings that may differ between a run and its continuation: they don't change what is learned.
_FREE_TO_CHANGE = {
    "output",
    "data.root",
    "data.cache",
    "data.workers",
    "distill.teacher",  # may have moved; another one would have other bins
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.threads",
}


class ResumeFiles(CheckpointIO):
    """How Lightning writes and reads ``resume.ckpt``: whole, and with the one before it kept.

    Lightning's own way writes to the folder of temporary files and moves from there, which on
    another file system is a copy, and never waits for the disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a file."""
        write_atomically(Path(path), checkpoint, previous=Path(path).with_name(PREVIOUS))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a file."""
        return read_whole(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a file."""
        Path(path).unlink()


class KeepResumable(Checkpoint):
    """Writes ``resume.ckpt`` after every epoch; Lightning calls such a callback after all others.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Keep the epoch."""
        trainer.save_checkpoint(self.path)


def find_resumable(checkpoints: Path) -> int | None:
    """See to it that ``resume.ckpt`` is the last whole one, and tell how far it had come.

    Args:
        checkpoints: The folder of checkpoints of a run.

    Returns:
        Optimiser steps behind it; None where no epoch was finished.

    Raises:
        CheckpointError: There are such files, and all are damaged; or there are none of a run that
            has finished epochs, which must not be written over.
    """
    last, previous = checkpoints / RESUME, checkpoints / PREVIOUS
    damaged = False
    for path in (last, previous):
        if not path.exists():
            continue
        try:
            steps = read_whole(path)["global_step"]
        except (CheckpointError, KeyError, TypeError):
            damaged = True
            continue
        if path == previous:
            if damaged:
                say(f"{last}: damaged; going on from {PREVIOUS}, an epoch earlier")
            previous.replace(last)  # or the next epoch would keep the damaged one in its place
        return steps
    if damaged:
        raise CheckpointError(
            f"{last}: damaged, and so is, or not there, {PREVIOUS}; best.pt and last.pt can still "
            f"be used; to begin the run again delete {checkpoints} and resume it"
        )
    _require_nothing_to_lose(checkpoints)
    return None


def _require_nothing_to_lose(checkpoints: Path) -> None:
    """Refuse to begin again where epochs were finished: their files would be written over.

    One that was killed in its first epoch may have left ``last.pt`` of it.
    """
    path = checkpoints / "last.pt"
    epoch = read_whole(path).get("epoch", 0) if path.is_file() else 0
    if epoch > 1:
        raise CheckpointError(
            f"{checkpoints / RESUME}: expected the state of a run that has finished {epoch} "
            "epochs, found none; restore it, or start a run with another --output"
        )


def require_fresh(folder: Path) -> None:
    """Refuse to begin a run where another one lies.

    Raises:
        DataError: The folder holds a run.
    """
    if any((folder / "checkpoints").glob("*")):
        cure = "continue it with --resume" if (folder / "config.yaml").is_file() else "delete it"
        raise DataError(
            f"{folder}: already holds a run; {cure}, or choose another folder with --output"
        )


def require_same_run(config: Config, folder: Path) -> Config:
    """The settings of a run that is resumed, with what it had taken from its dataset.

    Raises:
        DataError: The folder holds no run.
        UsageError: A setting has changed that changes what is learned.
    """
    if not (folder / "config.yaml").is_file():
        raise DataError(
            f"{folder}: expected a run to resume, found no config.yaml; start one without --resume"
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


def require_same_split(path: Path, names: dict[str, list[str]]) -> None:
    """Refuse to go on with other frames.

    Args:
        path: The ``split.json`` of the run.
        names: Of the frames of each part today.

    Raises:
        DataError: They are not those the run began with.
    """
    before = read_split(path)
    for part, frames in names.items():
        if frames != before[part]:
            raise DataError(
                f"{path}: the {part} frames are not those the run began with ({len(before[part])} "
                f"then, {len(frames)} now); restore the dataset, or start a run with --output"
            )


def say_what_changed(path: Path, now: dict[str, object]) -> None:
    """Say where a run goes on with other software or another processor, which may round otherwise.

    Args:
        path: The ``environment.json`` of the run.
        now: The same of today.
    """
    try:
        began = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        began = None
    if not isinstance(began, dict):
        say(f"{path}: cannot be read, so nothing tells whether the software is the same")
        return
    changed = [
        f"{name} was {began[name]}, now {value}"
        for name, value in now.items()
        if name != "command" and name in began and began[name] != value
    ]
    if changed:
        say(f"{path}: {'; '.join(changed)}: the run need not end where it would have to the bit")


def _flat(config: Config) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in config_to_dict(config).items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": item for key, item in value.items()})
        else:
            flat[name] = value
    return flat
