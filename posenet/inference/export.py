"""Models that leave Python: a run as one file that runs without torch, or without posenet.

``EXPORTS`` is the table of file formats. What is written is read back and compared with the
network, on images of the scene where they are at hand, before it gets its name.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from posenet.errors import CheckpointError, UsageError, look_up
from posenet.geometry import rotation_to_quaternion
from posenet.inference.localizer import Localizer
from posenet.inference.onnx_metadata import write_metadata
from posenet.inference.onnx_model import (
    BIN_OUTPUTS,
    CONFIDENCE_OUTPUTS,
    INPUT,
    ONNX_SUFFIX,
    POSE_OUTPUTS,
    load_onnx,
    require_installed,
    to_prediction,
)
from posenet.inference.parity import Parity, compare_models, find_frames, require_parity
from posenet.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, run_folder_of
from posenet.models.network import Prediction, to_float

OPSET = 18  # the oldest that the exporter of torch 2.6 and newer writes without converting
_MOST_IMAGES = 2**20  # of a batch; torch 2.6 wants a bound
METADATA_FILE = "posenet.json"  # within a .pt2 file


if TYPE_CHECKING:  # it is optional
    import onnx


class Export(NamedTuple):
    """A file format of whole models.

    Attributes:
        suffix: Of its files.
        packages: What must be installed for it.
        write: Write a program, with the metadata of its run, into a file.
        read: Read it back, as a function of RGB byte images (B, height, width, 3).
    """

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[torch.export.ExportedProgram, dict[str, str], Path], None]
    read: Callable[[Path], Callable[[Tensor], Prediction]]


class PortableNetwork(nn.Module):
    """A network with all that stands between image files' pixels and poses in the world.

    It takes bytes, so that nobody has to know how pixels are scaled, and adds the scene's origin
    in float64, so that nobody has to add it and no digits are lost.

    Args:
        checkpoint: The network and what belongs to it.
    """

    origin: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.network
        origin = torch.tensor(checkpoint.origin, dtype=torch.float64)
        self.register_buffer("origin", origin)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Poses of images, and what else the network has; docs/export.md explains each.

        Args:
            images: RGB bytes, (B, height, width, 3), of the network's size.
        """
        image = to_float(images.permute(0, 3, 1, 2))
        (rotation, translation), logits, candidates, confidence = self.network(image)
        position = translation.double() + self.origin
        values = (rotation, position, rotation_to_quaternion(rotation))
        outputs = dict(zip(POSE_OUTPUTS, values, strict=True))
        if logits is not None:
            values = (
                logits.softmax(dim=-1),
                # Centres of bins are constants, which may not be outputs as they are.
                candidates.rotation.clone(),
                candidates.translation.double() + self.origin,
            )
            outputs |= dict(zip(BIN_OUTPUTS, values, strict=True))
        if confidence is not None:
            outputs |= dict(zip(CONFIDENCE_OUTPUTS, confidence, strict=True))
        return outputs


class Exported(NamedTuple):
    """A file that was written.

    Attributes:
        path: The file.
        parity: How far it is from the network.
        frames: What it was compared on, in words.
        unit: Of its camera centres.
    """

    path: Path
    parity: Parity
    frames: str
    unit: str


def describe_export(exported: Exported) -> str:
    """One line on what was written."""
    path, parity, frames, unit = exported
    return (
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, at most {parity.rotation_deg:.1e} deg and "
        f"{parity.translation_m:.1e} {unit} from the run on {frames}"
    )


def export_run(
    run: Path,
    to: str = "onnx",
    output: Path | None = None,
    *,
    force: bool = False,
    images: list[Path] | None = None,
    tolerance_deg: float = 1e-3,
    tolerance_m: float | None = None,
) -> Exported:
    """Write a run as one file, and make sure that it answers as the run does.

    Args:
        run: A run folder or a checkpoint file.
        to: A row of :data:`EXPORTS`.
        output: The file; ``model`` with the format's ending in the run folder when omitted.
        force: Whether an existing file is replaced.
        images: Images and folders of images to compare on; when omitted, frames of the dataset that
            the run was trained from, and random pixels where it is not there.
        tolerance_deg: Largest difference of a rotation, degrees.
        tolerance_m: Largest difference of a camera centre, in the scene's unit; see
            :func:`posenet.inference.parity.require_parity` for what it is when omitted.

    Raises:
        PosenetError: The run cannot be used, the file is there already, or it answers differently:
            no file is left then.
    """
    row = look_up(EXPORTS, to, "export format")
    for name, value in (("deg", tolerance_deg), ("m", tolerance_m)):
        if value is not None and not 0.0 < value < float("inf"):
            raise UsageError(f"--tolerance-{name}: expected more than 0, found {value:g}")
    source = find_checkpoint(run)
    require_installed(*row.packages)
    output = output or run_folder_of(source) / f"model{row.suffix}"
    _require_free(output, row.suffix, force)
    checkpoint = load_checkpoint(source)
    localizer = Localizer(checkpoint, "cpu")
    frames = find_frames(localizer, images)
    output.parent.mkdir(parents=True, exist_ok=True)

    def eager(pixels: Tensor) -> Prediction:
        return localizer.predict_fully(pixels.numpy(), len(pixels))

    temporary = output.with_name(f".{output.stem}.{os.getpid()}{row.suffix}")
    try:
        with _quietly():
            row.write(trace(checkpoint), write_metadata(checkpoint), temporary)
        parity = compare_models(eager, row.read(temporary), frames.images)
        require_parity(parity, checkpoint, output, tolerance_deg, tolerance_m)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(output, parity, frames.words, "m" if checkpoint.metric else "units")


def trace(checkpoint: Checkpoint) -> torch.export.ExportedProgram:
    """The network of a checkpoint as a graph, for batches of any size."""
    data = checkpoint.config.data
    # With one image the batch would be taken for a constant.
    images = torch.zeros(2, data.height, data.width, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=_MOST_IMAGES)
    with torch.no_grad():
        program = torch.export.export(
            PortableNetwork(checkpoint).eval(),
            (images,),
            dynamic_shapes={INPUT: {0: batch}},
            strict=False,
        )
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _write_onnx(
    program: torch.export.ExportedProgram, metadata: dict[str, str], path: Path
) -> None:
    import onnx

    names = _output_names(program)
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=names,
            verbose=False,
        )
    except Exception as error:  # torch, onnxscript and onnx_ir each raise types of their own
        raise CheckpointError(
            f"torch {torch.__version__} cannot write this network as ONNX "
            f"({_first_line(error.__cause__ or error)}); update torch, onnx and "
            "onnxscript, or use --to torch-export"
        ) from error
    model = exported.model_proto
    # The exporter's notes to itself, a fifth of a small file.
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in nodes:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")
    for entry in (model.graph, *model.graph.value_info, *model.graph.input, *model.graph.output):
        entry.ClearField("metadata_props")
    _name_batch(model)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _name_batch(model: "onnx.ModelProto") -> None:
    """The exporter gives the size of the batch a number; people read a word."""
    name = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == name:
                dim.dim_param = "batch"


def _output_names(program: torch.export.ExportedProgram) -> list[str]:
    with torch.no_grad():
        images = program.example_inputs[0][0]
        return list(program.module()(images))


def _write_torch_export(
    program: torch.export.ExportedProgram, metadata: dict[str, str], path: Path
) -> None:
    content = "{" + ", ".join(f'"{name}": {text}' for name, text in metadata.items()) + "}"
    torch.export.save(program, path, extra_files={METADATA_FILE: content})


def _read_onnx(path: Path) -> Callable[[Tensor], Prediction]:
    return load_onnx(path).predict


def _read_torch_export(path: Path) -> Callable[[Tensor], Prediction]:
    module = torch.export.load(path).module()

    @torch.no_grad()
    def predict(images: Tensor) -> Prediction:
        return to_prediction(module(images))

    return predict


EXPORTS: dict[str, Export] = {
    "onnx": Export(ONNX_SUFFIX, ("onnx", "onnxscript", "onnxruntime"), _write_onnx, _read_onnx),
    "torch-export": Export(".pt2", (), _write_torch_export, _read_torch_export),
}


def _require_free(output: Path, suffix: str, force: bool) -> None:
    """Refuse a destination that is there already, or that would not be known for what it is.

    Raises:
        UsageError: It is one.
    """
    if output.suffix != suffix:
        raise UsageError(f"{output}: expected the name of a {suffix} file; give it with --output")
    if output.is_dir():
        raise UsageError(f"{output}: expected the name of a file to write, found a folder")
    if not force and (output.exists() or output.is_symlink()):
        raise UsageError(f"{output}: exists already; give another name, or --force to replace it")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch's exporter tells its developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
