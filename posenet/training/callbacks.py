"""What happens around the training steps: checkpoints, metrics, progress."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning

from posenet.evaluation.plots import read_metrics
from posenet.models.checkpoint import Checkpoint, save_checkpoint
from posenet.models.network import PoseNetwork
from posenet.progress import make_bar, say
from posenet.training.module import TrainingModule


class KeepCheckpoints(lightning.Callback):
    """Writes ``last.pt`` after every epoch and on Ctrl-C, ``best.pt`` when validation improves.

    Args:
        folder: Where to write.
        make: ``f(network, epoch)``: the checkpoint to write.
    """

    def __init__(self, folder: Path, make: Callable[[PoseNetwork, int], Checkpoint]) -> None:
        self.folder = folder
        self.make = make
        self.best_score = float("inf")
        self.best_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a resumed run's state."""
        self.best_score = state_dict["best_score"]
        self.best_epoch = state_dict["best_epoch"]

    def on_validation_end(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Keep the epoch if it is the best so far."""
        score = trainer.callback_metrics.get("validation_score")
        if trainer.sanity_checking or score is None or not float(score) < self.best_score:
            return
        self.best_score, self.best_epoch = float(score), trainer.current_epoch + 1
        self._save("best.pt", trainer.current_epoch + 1, module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Keep the last epoch."""
        self._save("last.pt", trainer.current_epoch + 1, module)

    def on_exception(
        self, trainer: lightning.Trainer, module: TrainingModule, exception: BaseException
    ) -> None:
        """An interrupted run is usable from where it stood."""
        if trainer.global_step > 0 and isinstance(exception, KeyboardInterrupt):
            self._save("last.pt", trainer.current_epoch, module)

    def _save(self, name: str, epoch: int, module: TrainingModule) -> None:
        save_checkpoint(self.folder / name, self.make(module.best_network, epoch))


class WriteMetrics(lightning.Callback):
    """Writes ``metrics.csv``, one row an epoch, and goes on with it when a run is resumed.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Keep the rows of the epochs that a resumed run has behind it."""
        if trainer.current_epoch > 0 and self.path.is_file():
            done = read_metrics(self.path)
            self.rows = [row for row in done if row["epoch"] <= trainer.current_epoch]

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Add a row."""
        rates = trainer.optimizers[0].param_groups
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row |= {name: float(value) for name, value in trainer.callback_metrics.items()}
        row |= {"learning_rate": max(group["lr"] for group in rates)}
        self.rows.append(row)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for r in self.rows for key in r)))
            writer.writeheader()
            writer.writerows(self.rows)


class ShowProgress(lightning.Callback):
    """A bar in human units, and a line an epoch that stays.

    Args:
        length: The unit of lengths.
    """

    def __init__(self, length: str = "m") -> None:
        self.length = length
        self.bar = make_bar()
        self.task: Any = None
        self.batches: list[tuple[float, float]] = []

    def on_train_start(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Open the bar."""
        total = int(trainer.num_training_batches) * int(trainer.max_epochs or 0)
        self.bar.start()
        self.task = self.bar.add_task(
            "training", total=total, completed=trainer.global_step, status=""
        )

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: TrainingModule, outputs: Any, *_: Any
    ) -> None:
        """Show the errors of this epoch so far."""
        if self.bar.disable:  # reading a value waits for the GPU
            return
        self.batches.append((float(outputs["rotation_deg"]), float(outputs["translation_m"])))
        rotation, translation = (
            sum(column) / len(column) for column in zip(*self.batches, strict=True)
        )
        status = self._in_units(rotation, translation)
        self.bar.update(self.task, completed=trainer.global_step, status=status)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Leave a line."""
        self.batches.clear()
        metrics = trainer.callback_metrics
        parts = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"]
        for stage, name in (("training", "train"), ("validation", "validation")):
            if f"{name}_rotation_deg" in metrics:
                values = metrics[f"{name}_rotation_deg"], metrics[f"{name}_translation_m"]
                parts.append(f"{stage} {self._in_units(*map(float, values))}")
        line = "  ".join(parts)
        if self.bar.disable:
            say(line)
        else:
            self.bar.console.print(line, highlight=False)

    def on_train_end(self, *_: Any) -> None:
        """Close the bar."""
        self.bar.stop()

    def on_exception(self, *_: Any) -> None:
        """Close the bar."""
        self.bar.stop()

    def _in_units(self, rotation_deg: float, translation: float) -> str:
        return f"{rotation_deg:6.2f} deg {translation:6.3f} {self.length}"
