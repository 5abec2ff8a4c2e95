"""Running an exported model on onnxruntime; its file is not trusted."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from posenet.errors import CheckpointError
from posenet.geometry import Pose
from posenet.inference.onnx_metadata import Description, read_metadata
from posenet.models.network import Confidence, Prediction

if TYPE_CHECKING:  # both are optional
    import onnx
    import onnxruntime

ONNX_SUFFIX = ".onnx"
INPUT = "images"
POSE_OUTPUTS = ("rotation", "translation", "quaternion_wxyz")
BIN_OUTPUTS = ("probabilities", "candidate_rotation", "candidate_translation")
CONFIDENCE_OUTPUTS = ("rotation_scale_rad", "translation_scale_m", "novelty")


class OnnxModel(NamedTuple):
    """An exported model, ready for images.

    Attributes:
        session: What runs it.
        known: What its file says of it.
    """

    session: "onnxruntime.InferenceSession"
    known: Description

    @property
    def bins(self) -> Pose | None:
        """Centres of its viewpoint bins, (K,); None without."""
        return self.known.bins

    @property
    def has_confidence(self) -> bool:
        """Whether it says how sure it is."""
        return self.known.has_confidence

    def predict(self, images: Tensor) -> Prediction:
        """What it makes of images.

        Args:
            images: RGB bytes of the network's size, (B, height, width, 3).

        Returns:
            Float64, in world coordinates; of bins the logarithms of their probabilities.
        """
        names = [output.name for output in self.session.get_outputs()]
        # onnxruntime knows no empty batches.
        pixels = images if len(images) else images.new_zeros((1, *images.shape[1:]))
        values = self.session.run(names, {INPUT: pixels.numpy()})
        kept = (torch.from_numpy(value)[: len(images)] for value in values)
        return to_prediction(dict(zip(names, kept, strict=True)))


def to_prediction(outputs: Mapping[str, Tensor]) -> Prediction:
    """The outputs of an exported model as a prediction, float64."""
    wide = {name: value.double() for name, value in outputs.items()}
    pose = Pose(*(wide[name] for name in POSE_OUTPUTS[:2]))
    logits, candidates, confidence = None, None, None
    if BIN_OUTPUTS[0] in wide:
        logits = wide[BIN_OUTPUTS[0]].log()
        candidates = Pose(*(wide[name] for name in BIN_OUTPUTS[1:]))
    if CONFIDENCE_OUTPUTS[0] in wide:
        confidence = Confidence(*(wide[name] for name in CONFIDENCE_OUTPUTS))
    return Prediction(pose, logits, candidates, confidence)


def require_installed(*names: str) -> None:
    """Refuse to go on without optional packages.

    Raises:
        CheckpointError: One is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise CheckpointError(
                f"ONNX models need the package {name}, which is not installed; "
                "run: pip install onnx onnxruntime onnxscript"
            )


def load_onnx(path: Path, threads: int | None = None) -> OnnxModel:
    """Open an exported model.

    Args:
        path: The file.
        threads: How many it may use; as many as torch when omitted.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, of another program or of a newer
            version, or onnxruntime is not installed.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such model; write one with: posenet export RUN")
    require_installed("onnx", "onnxruntime")
    import onnx
    import onnxruntime

    try:
        content = path.read_bytes()
        model = onnx.load_model_from_string(content)
    except OSError:
        raise
    except Exception as error:  # protobuf has an exception of its own in each of its versions
        raise CheckpointError(
            f"{path}: not an ONNX model, or damaged ({type(error).__name__}); copy it again, or "
            "write it again with: posenet export RUN"
        ) from error
    known = read_metadata({entry.key: entry.value for entry in model.metadata_props}, path)
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise CheckpointError(
                f"{path}: expected all weights inside the file, as posenet writes them, found some "
                "in other files; write it again with: posenet export RUN"
            )
    try:
        session = onnxruntime.InferenceSession(
            content, session_options(threads), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has a class for each of its states
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot run it ({reason}); update "
            "onnxruntime, or write it again with: posenet export RUN"
        ) from error
    _require_ours(session, known, path)
    return OnnxModel(session, known)


def session_options(threads: int | None = None) -> "onnxruntime.SessionOptions":
    """How exported models are run: operators one after the other, each on some threads.

    Args:
        threads: How many; as many as torch uses when omitted.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors are raised, and told in one line
    # Waiting threads would take their time from those that decode the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _require_ours(session: "onnxruntime.InferenceSession", known: Description, path: Path) -> None:
    """Refuse a graph that is not what its metadata say.

    Raises:
        CheckpointError: It is not.
    """
    wanted = {*POSE_OUTPUTS, *(BIN_OUTPUTS if known.bins is not None else ())}
    wanted |= {*(CONFIDENCE_OUTPUTS if known.has_confidence else ())}
    inputs = [(entry.name, entry.type, entry.shape[1:]) for entry in session.get_inputs()]
    ours = [(INPUT, "tensor(uint8)", [known.camera.height, known.camera.width, 3])]
    found = {output.name for output in session.get_outputs()}
    if inputs != ours or found != wanted:
        raise CheckpointError(
            f"{path}: its inputs and outputs are not what its metadata say; write it again with: "
            "posenet export RUN"
        )


def _tensors(model: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    """All tensors in a model, wherever they are."""

    def of_nodes(nodes: "list[onnx.NodeProto]") -> Iterator["onnx.TensorProto"]:
        for node in nodes:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                for graph in (attribute.g, *attribute.graphs):
                    yield from of_graph(graph)

    def of_graph(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from of_nodes(graph.node)

    yield from of_graph(model.graph)
    for function in model.functions:
        yield from of_nodes(function.node)
