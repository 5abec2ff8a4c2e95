"""Where the time of training steps goes, measured inside the loop that trains."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from posenet.config import Config
from posenet.datasets.loader import Sample
from posenet.datasets.scene import Scene
from posenet.geometry import Pose
from posenet.models.network import PoseNetwork
from posenet.processes import ALONE
from posenet.training.compiling import compiled
from posenet.training.fitting import fit_bins, fit_statistics
from posenet.training.memory import explain_lack_of_memory
from posenet.training.module import TrainingModule
from posenet.training.requirements import accelerator_of, require_trainable
from posenet.training.trainer import fit, make_trainer, quiet_lightning

# In the order of a step: waiting for the batch and bringing it to the device; the network; loss and
# errors; the gradients; clipping, optimiser and schedule; the averaged weights; all else.
PARTS = ("load", "forward", "loss", "backward", "optimizer", "average", "rest")


Batches = Sequence[Sample] | DataLoader[Sample]


Parts = dict[str, float]  # seconds by part


class StepTimes(NamedTuple):
    """Training steps, after those of the warm-up.

    Attributes:
        wall: Seconds by the clock of the parts of each step, which they add up to; see
            :data:`PARTS`.
        cpu: CPU seconds likewise, of all threads of this process.
        first: Seconds by the clock of the first step, which does not count: what is compiled is
            compiled there.
        batch_size: Images a step.
        precision: As Lightning names it.
    """

    wall: list[Parts]
    cpu: list[Parts]
    first: float
    batch_size: int
    precision: str


def require_usable(config: Config) -> torch.device:
    """Refuse settings that cannot train, before anything is measured.

    Returns:
        Where they train.

    Raises:
        UsageError: A name is unknown, the device is not there, or batches are too small.
    """
    require_trainable(config)
    name = accelerator_of(config.trainer.accelerator)
    return torch.device("cuda" if name == "gpu" else name)


def untrained_network(config: Config, scene: Scene) -> PoseNetwork:
    """The network of a configuration with random weights, which cost what others do.

    What is frozen, and which batch norms keep their statistics, is as with the weights that the
    configuration names.

    Args:
        config: The settings.
        scene: The dataset whose poses it is fitted to.

    Raises:
        DataError: The dataset has too few poses for the viewpoint bins.
    """
    torch.manual_seed(config.seed)
    network = PoseNetwork(config.model, config.data, weights="none")
    fit_statistics(network, scene)
    fit_bins(network, scene, config)
    return network


def as_float(poses: Pose) -> Pose:
    """Poses as networks want them."""
    return Pose(poses.rotation.float(), poses.translation.float())


def time_steps(
    config: Config,
    network: PoseNetwork,
    batches: Batches,
    *,
    steps: int,
    warm_up: int,
    split: bool,
    teacher: PoseNetwork | None = None,
    reads_kept_views: bool = False,
) -> StepTimes:
    """Train on some batches, and tell what each step took.

    Args:
        config: The settings.
        network: Its statistics fitted; it is trained.
        batches: One a step, at least as many as there are steps.
        steps: How many count.
        warm_up: How many before these do not.
        split: Whether to tell the parts of a step. A GPU must then be waited for between them; in
            steps that are not split it is only at their ends, and all time is of ``rest``.
        teacher: Of a student, whose ``loss`` holds the teacher's forward pass.
        reads_kept_views: Whether batches hold what frozen layers made of images.

    Raises:
        MemoryLackError: The settings are too large for the memory.
    """
    module = _TimedModule(config, network, warm_up + steps, teacher, split, reads_kept_views)
    quiet_lightning()
    trainer = make_trainer(
        *(config, ALONE),
        max_epochs=1,
        limit_train_batches=warm_up + steps,
        logger=False,
        enable_checkpointing=False,
    )
    with explain_lack_of_memory(config), compiled(network, config):
        fit(trainer, module, _Timed(batches, module), None, None)
    return StepTimes(
        wall=module.wall[warm_up:],
        cpu=module.cpu_seconds[warm_up:],
        first=sum(module.wall[0].values()),
        batch_size=module.batch_size,
        precision=str(trainer.precision),
    )


class _Timed:
    """Batches whose making is the part ``load``."""

    def __init__(self, batches: Batches, module: "_TimedModule") -> None:
        self.batches = batches
        self.module = module

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Sample]:
        batches = iter(self.batches)  # starts the workers
        self.module.begin()
        for batch in batches:
            self.module.lap("load")
            yield batch
            self.module.lap("rest")


class _TimedModule(TrainingModule):
    """The module that trains, with a watch in the hooks that Lightning calls."""

    def __init__(
        self,
        config: Config,
        network: PoseNetwork,
        steps: int,
        teacher: PoseNetwork | None,
        split: bool,
        reads_kept_views: bool,
    ) -> None:
        super().__init__(
            network,
            config.loss,
            config.optimization,
            steps,
            config.seed,
            teacher,
            config.distill,
            reads_kept_views=reads_kept_views,
        )
        self.split = split
        self.batch_size = 0
        self.wall: list[Parts] = []
        self.cpu_seconds: list[Parts] = []
        self.begin()

    def _begin_step(self) -> None:
        self._step = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0)

    def begin(self) -> None:
        """Forget what came before the first step: making the trainer, starting workers."""
        self._begin_step()
        self._last = time.perf_counter(), time.process_time()

    def lap(self, part: str, *, ends_step: bool = False) -> None:
        """Count the time since the last lap for a part of the step."""
        if not self.split:
            if not ends_step:
                return
            part = "rest"
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        now = time.perf_counter(), time.process_time()
        for parts, end, start in zip(self._step, now, self._last, strict=True):
            parts[part] += end - start
        self._last = now

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._hook = self.network.register_forward_hook(lambda *_: self.lap("forward"))

    def on_fit_end(self) -> None:
        self._hook.remove()

    def on_train_batch_start(self, *words: Any) -> None:
        self.lap("load")  # to the device
        super().on_train_batch_start(*words)

    def training_step(self, batch: Sample, batch_index: int) -> dict[str, Tensor]:
        self.lap("rest")
        self.batch_size = len(batch.image)
        result = super().training_step(batch, batch_index)
        self.lap("loss")
        return result

    def on_before_backward(self, loss: Tensor) -> None:
        self.lap("optimizer")  # gradients set to zero

    def on_after_backward(self) -> None:
        self.lap("backward")

    def on_train_batch_end(self, *words: Any) -> None:
        self.lap("optimizer")
        super().on_train_batch_end(*words)
        self.lap("average", ends_step=True)
        for steps, parts in zip((self.wall, self.cpu_seconds), self._step, strict=True):
            steps.append(parts)
        self._begin_step()
