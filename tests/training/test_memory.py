"""A lack of memory ends in one line with the cure."""

import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from posenet.config import Config
from posenet.errors import MemoryLackError
from posenet.training.memory import explain_lack_of_memory


def fill_the_memory():
    torch.empty(1 << 60, dtype=torch.uint8)


def fill_the_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines")


def fill_numpy():
    raise MemoryError


def run(fault):
    with explain_lack_of_memory(Config()):
        fault()


class Dying(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def lose_a_worker():
    for _ in DataLoader(Dying(), num_workers=1):
        pass


CURES = {
    fill_the_memory: "with batches of 32 images of 224x168 pixels; use a smaller --optimization",
    fill_the_gpu: "out of memory with batches of 32 images",
    fill_numpy: "out of memory with batches of 32 images",
    lose_a_worker: r"fewer --data\.workers \(now 1, 0 needs no shared memory\)",
}


@pytest.mark.parametrize("fault", CURES)
def test_a_lack_of_memory_is_explained(fault):
    with pytest.raises(MemoryLackError, match=CURES[fault]) as caught:
        run(fault)
    assert "\n" not in str(caught.value)


class Failing(Dying):
    def __getitem__(self, index):
        raise RuntimeError("a fault of ours")


def fail_in_a_worker():
    for _ in DataLoader(Failing(), num_workers=1):
        pass


def multiply_what_does_not_fit():
    torch.ones(2, 3) @ torch.ones(2, 3)


@pytest.mark.parametrize("fault", [fail_in_a_worker, multiply_what_does_not_fit])
def test_other_errors_are_left_alone(fault):
    with pytest.raises(RuntimeError, match=r"a fault of ours|cannot be multiplied"):
        run(fault)
