"""Compiling the backbone for a training: minutes to begin with, and less for each step after."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from posenet.config import Config
from posenet.errors import UsageError
from posenet.models.network import PoseNetwork
from posenet.processes import current_world


def require_compilable(config: Config) -> None:
    """Refuse what is not known to compile.

    Raises:
        UsageError: Several processes are to train.
    """
    trainer = config.trainer
    count = max(current_world().size, trainer.devices * trainer.num_nodes)
    if trainer.compile and count > 1:
        raise UsageError(
            f"trainer.compile: expected one process, found {count}; leave one of them out"
        )


@contextmanager
def compiled(network: PoseNetwork, config: Config) -> Iterator[None]:
    """Have torch compile the backbone at its first step inside, where the settings ask for it.

    Names of weights and what is saved stay as they are; copies of the network are not compiled.

    Args:
        network: The network that is trained.
        config: The settings.

    Raises:
        UsageError: It cannot be compiled here.
    """
    if not config.trainer.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # takes seconds

    torch.compiler.reset()  # forgets networks before this one, which count as variants of it
    try:
        network.compile_backbone()
        yield
    except TorchDynamoException as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"trainer.compile: torch cannot compile {config.model.backbone} here ({reason}); "
            "install a C++ compiler, or leave the setting out"
        ) from error
