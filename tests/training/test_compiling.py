"""A compiled backbone is the same network, and what cannot be compiled ends in one line."""

import os
import subprocess
import sys

import pytest
import torch

from posenet.config import Config, DataConfig, ModelConfig, TrainerConfig, load_config
from posenet.errors import UsageError
from posenet.models.network import PoseNetwork
from posenet.training.compiling import compiled, require_compilable

MODEL = ModelConfig(backbone="mobilenet_v3_small", weights="none", mode="regression", channels=4)
COMPILE = Config(model=MODEL, trainer=TrainerConfig(compile=True))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PoseNetwork(MODEL, DataConfig(width=64, height=48))


@pytest.mark.parametrize("config", [COMPILE, Config(model=MODEL)])
def test_the_backbone_alone_is_compiled_where_it_is_asked_for(config, network, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: asked.append(module))
    with compiled(network, config):
        pass
    parts = [network.backbone, network._trained_layers[0]] if config.trainer.compile else []
    assert [id(module) for module in asked] == [id(part) for part in parts]


def test_the_names_of_weights_stay(network):
    names = list(network.state_dict())
    with compiled(network, COMPILE):
        assert list(network.state_dict()) == names


def test_what_cannot_be_compiled_is_one_line(network):
    from torch._dynamo.exc import TorchDynamoException

    reason = "InvalidCxxCompiler: No working C++ compiler found"
    with pytest.raises(UsageError) as refused, compiled(network, COMPILE):
        raise TorchDynamoException(f"{reason}\n\nSet TORCHDYNAMO_VERBOSE=1 for more")
    assert str(refused.value) == (
        f"trainer.compile: torch cannot compile mobilenet_v3_small here ({reason}); "
        "install a C++ compiler, or leave the setting out"
    )


def test_other_errors_are_left_alone(network):
    with pytest.raises(ZeroDivisionError), compiled(network, COMPILE):
        raise ZeroDivisionError


def test_several_processes_are_refused():
    config = load_config(None, ["--trainer.compile=true", "--trainer.devices=2"])
    with pytest.raises(UsageError, match="expected one process, found 2"):
        require_compilable(config)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(network):
    torch.manual_seed(0)
    image = torch.rand(4, 3, 48, 64)

    def learn() -> list[torch.Tensor]:
        torch.manual_seed(1)
        network.zero_grad()
        prediction = network.eval()(image)
        (prediction.pose.translation.sum() + prediction.pose.rotation.square().sum()).backward()
        return [network.backbone[0][0].weight.grad.clone(), prediction.pose.translation.detach()]

    plain = learn()
    with compiled(network, COMPILE):
        for found, expected in zip(learn(), plain, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_without_a_compiler_the_command_line_says_so(tmp_path):
    words = "bench --quick --trainer.compile true --batches 1 --data.width 64 --data.height 48"
    words += " --model.backbone mobilenet_v3_small --backbones mobilenet_v3_small"
    cache = {"CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "posenet", *words.split()],
        env={**os.environ, **cache},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error: trainer.compile: torch cannot compile mobilenet_v3_small" in done.stderr
