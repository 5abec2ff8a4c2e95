"""What settings must be for a training to begin, and where it then runs."""

import torch

from posenet.config import Config
from posenet.errors import UsageError, look_up
from posenet.geometry import REPRESENTATIONS
from posenet.losses import PoseLoss
from posenet.models.backbones import BACKBONES
from posenet.models.viewpoints import BINNINGS, DECODINGS
from posenet.processes import current_world, is_launched
from posenet.training.compiling import require_compilable
from posenet.training.kept_views import require_layers_to_keep

_STRIDE = 32  # pixels that a feature of any backbone stands for


def require_trainable(config: Config) -> None:
    """Refuse settings that cannot train, before anything is read.

    Raises:
        UsageError: A name is unknown, or settings contradict each other.
    """
    PoseLoss(config.loss)
    look_up(BACKBONES, config.model.backbone, "backbone")
    look_up(REPRESENTATIONS, config.model.rotation, "rotation representation")
    look_up(BINNINGS, config.model.binning, "binning")
    look_up(DECODINGS, config.model.decoding, "decoding")
    accelerator_of(config.trainer.accelerator)
    require_statistics(config, config.optimization.batch_size)
    require_layers_to_keep(config)
    require_compilable(config)


def require_statistics(config: Config, images: int) -> None:
    """Refuse batches of which batch normalisation has but one value to learn from."""
    data = config.data
    if images == 1 and max(data.width, data.height) <= _STRIDE:
        raise UsageError(
            f"optimization.batch_size: expected more than one image of {data.width}x{data.height} "
            "pixels in a batch, which is too little for batch normalisation; use a larger "
            "--optimization.batch_size, --optimization.views or --data.width"
        )


def processes_to_start(config: Config) -> int:
    """How many processes this machine is to train with; 1 where they have been started already.

    Raises:
        UsageError: There are not as many GPUs, or other machines have to start theirs.
    """
    if is_launched():
        return 1
    if config.trainer.num_nodes > 1:
        raise UsageError(
            f"trainer.num_nodes: expected torchrun to start the processes of "
            f"{config.trainer.num_nodes} machines, found none; docs/scaling.md has the command"
        )
    accelerator = accelerator_of(config.trainer.accelerator)
    count = config.trainer.devices or (torch.cuda.device_count() if accelerator == "gpu" else 1)
    _require_devices(accelerator, count)
    return count


def require_processes(config: Config) -> None:
    """Refuse settings that contradict the processes that there are."""
    world = current_world()
    devices, nodes = config.trainer.devices, config.trainer.num_nodes
    found = world.local_size, world.size // world.local_size
    if is_launched():
        _require_devices(accelerator_of(config.trainer.accelerator), world.local_size)
        # Where torchrun started them, only it needs to be told how many.
        if devices in (0, 1, found[0]) and nodes in (1, found[1]):
            return
    else:
        devices = processes_to_start(config)
        if devices == 1:
            return
    raise UsageError(
        f"trainer.devices: expected {devices} processes on each of {nodes} machines, found "
        f"{found[0]} on {found[1]}; posenet train starts them on one machine, torchrun on several"
    )


def _require_devices(accelerator: str, processes: int) -> None:
    """Refuse more processes on a machine than it has devices for; cores can be shared out."""
    most = {"gpu": torch.cuda.device_count(), "mps": 1}.get(accelerator, processes)
    if processes > most:
        raise UsageError(
            f"trainer.devices: expected at most {most} processes on this machine, one a "
            f"{accelerator}, found {processes}"
        )


def accelerator_of(name: str) -> str:
    """What ``auto`` means: a CUDA GPU or the CPU. Apple's GPU has no float64, which 9d needs."""
    available = {"gpu": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if name in available and not available[name]():
        raise UsageError(
            f"trainer.accelerator: {name} was asked for, and torch finds none here; use auto or cpu"
        )
    if name == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    return name


def precision_of(config: Config) -> str:
    """Lightning's word for the precision that the settings ask for."""
    if config.trainer.precision == "auto":
        on_gpu = accelerator_of(config.trainer.accelerator) == "gpu"
        return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    return {"32": "32-true", "bf16": "bf16-mixed"}[config.trainer.precision]
