"""Lightning's trainer, as a run of ours wants it."""

import logging
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.utils.data import DataLoader

from posenet.config import Config
from posenet.datasets.loader import Sample
from posenet.processes import World
from posenet.training.module import TrainingModule
from posenet.training.requirements import accelerator_of, precision_of


def make_trainer(config: Config, world: World, *plugins: Any, **more: Any) -> lightning.Trainer:
    """A trainer by the settings, which shows and writes nothing by itself.

    Args:
        config: The settings.
        world: The processes that train together.
        plugins: Of Lightning.
        more: What Lightning's trainer takes, in place of what is said here.
    """
    how = {
        "accelerator": accelerator_of(config.trainer.accelerator),
        "devices": world.local_size,
        "num_nodes": world.size // world.local_size,
        "strategy": _strategy(config, world),
        "precision": precision_of(config),
        "max_epochs": config.optimization.epochs,
        "gradient_clip_val": config.optimization.gradient_clip or None,
        "plugins": [*plugins, _environment(world)],
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        # Lightning's own sampler would shuffle by itself; ours is a function of (seed, epoch).
        "use_distributed_sampler": False,
    }
    return lightning.Trainer(**how | more)


def _environment(world: World) -> ClusterEnvironment:
    """Who tells Lightning of the processes; by itself it would believe SLURM, whoever asks."""
    return LightningEnvironment() if world.size == 1 else TorchElasticEnvironment()


def _strategy(config: Config, world: World) -> Strategy | str:
    if world.size == 1:
        return "auto"
    return DDPStrategy(
        # Bins alone leave the weights of the pose's loss without a gradient.
        find_unused_parameters=config.model.mode == "classification",
        broadcast_buffers=False,  # they are the same in all: statistics are of the whole batch
    )


def fit(
    trainer: lightning.Trainer,
    module: TrainingModule,
    training: DataLoader[Sample],
    validation: DataLoader[Sample] | None,
    resume_file: Path | None,
) -> None:
    """Lightning's ``fit`` that leaves Ctrl-C as it was."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, training, validation, ckpt_path=resume_file, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)  # Lightning leaves Ctrl-C switched off


def quiet_lightning() -> None:
    """Its advice on workers, logging and its makers' products is not for our users."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    # Of 1x1 kernels, whose two memory layouts are the same.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
