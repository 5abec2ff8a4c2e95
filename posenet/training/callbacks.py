"""What happens around the training steps: checkpoints, metrics, progress."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning

from posenet.models.checkpoint import Checkpoint, save_checkpoint, whole_file
from posenet.models.network import PoseNetwork
from posenet.progress import make_bar, say
from posenet.training.module import TrainingModule


class KeepCheckpoints(lightning.Callback):
    """Writes ``last.pt`` after every epoch and on Ctrl-C, ``best.pt`` when validation improves.

    Args:
        folder: Where to write.
        make: ``f(network, epoch)``: the checkpoint to write.
        patience: Stop after so many epochs without a better one; 0 never does.
    """

    def __init__(
        self, folder: Path, make: Callable[[PoseNetwork, int], Checkpoint], patience: int = 0
    ) -> None:
        self.folder = folder
        self.make = make
        self.patience = patience
        self.epoch = 0  # epochs that are finished
        self.best_score = float("inf")
        self.best_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {
            "epoch": self.epoch,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a resumed run's state."""
        self.epoch = state_dict["epoch"]
        self.best_score = state_dict["best_score"]
        self.best_epoch = state_dict["best_epoch"]

    def on_train_start(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """A run that was killed after its last epoch has no more to train."""
        trainer.should_stop |= self._has_lost_patience()

    def on_validation_end(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Keep the epoch if it is the best so far."""
        score = trainer.callback_metrics.get("validation_score")
        if trainer.sanity_checking or score is None or not float(score) < self.best_score:
            return
        self.best_score, self.best_epoch = float(score), trainer.current_epoch + 1
        self._save("best.pt", trainer.current_epoch + 1, module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Keep the last epoch, and decide whether there is another."""
        self.epoch = trainer.current_epoch + 1
        self._save("last.pt", self.epoch, module)
        trainer.should_stop |= self._has_lost_patience()

    def on_exception(
        self, trainer: lightning.Trainer, module: TrainingModule, exception: BaseException
    ) -> None:
        """An interrupted run is usable from where it stood."""
        if trainer.global_step > 0 and isinstance(exception, KeyboardInterrupt):
            self._save("last.pt", self.epoch, module)

    def _has_lost_patience(self) -> bool:
        return 0 < self.patience <= self.epoch - self.best_epoch

    def _save(self, name: str, epoch: int, module: TrainingModule) -> None:
        if not module.trainer.is_global_zero:
            return
        save_checkpoint(self.folder / name, self.make(module.best_network, epoch))


class WriteMetrics(lightning.Callback):
    """Writes ``metrics.csv`` and the loggers, one row an epoch.

    A resumed run has the rows from its checkpoint: those of a later epoch, which a kill took,
    vanish from the file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a resumed run's state."""
        self.rows = state_dict["rows"]

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Add a row."""
        rates = trainer.optimizers[0].param_groups
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row |= {name: float(value) for name, value in trainer.callback_metrics.items()}
        row |= {"learning_rate": max(group["lr"] for group in rates)}
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        self._write()
        for logger in trainer.loggers:
            logger.log_metrics(row, trainer.global_step)
            logger.save()  # or a kill would take what still waits to be written

    def _write(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(key for r in self.rows for key in r)))
        writer.writeheader()
        writer.writerows(self.rows)
        with whole_file(self.path) as file:
            file.write(text.getvalue().encode())


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
