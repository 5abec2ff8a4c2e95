"""The settings of a run: frozen dataclasses, read from YAML, overridden as ``--group.name value``.

Every setting has its default and its meaning here and nowhere else. jsonargparse checks names and
types. This module imports neither torch nor anything that does.
"""

import dataclasses
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from posenet.errors import UsageError, suggest

_LISTED = "; posenet train --settings lists them all"
_REPR = reprlib.Repr()
_REPR.maxlevel = 1


@dataclass(frozen=True)
class DataConfig:
    """Which frames, and how they reach the network.

    Attributes:
        root: Folder of the scene.
        format: How the folder is laid out: a row of posenet.datasets.formats.FORMATS, or auto to
            recognise it.
        width: Width of the network's images in pixels.
        height: Height of the network's images in pixels. Where most images are upright and this is
            not, or the other way round, width and height change places.
        intrinsics: focal_x, focal_y, center_x, center_y, width, height of the colour camera in
            pixels; what the dataset says, or the format's own default, when omitted.
        camera: focal_x, focal_y, center_x, center_y, in pixels of the network's images, of the
            pinhole camera that all images are resampled to; when omitted, that of most training
            images, without its distortion.
        depth_registered: Whether depth pixels are colour pixels; the Kinect's of 7-Scenes are not.
        split: Which frames test: auto (what the dataset says; where it says nothing the tail of
            each sequence), sequences:NAME,NAME, tail:FRACTION,gap:FRAMES,
            blocks:FRACTION,count:NUMBER,gap:FRAMES, or random:FRACTION, whose test frames have near
            copies in training. Blocks are so many runs of neighbours, spread evenly over each
            sequence, that have FRACTION of its frames together, with a gap on both sides of each;
            count and gap may be left out, and then follow from the sequence's length.
        validation: Which training frames choose the epoch: auto (the last training sequence, or
            blocks of each where none can be spared), sequences:NAME,NAME, tail:FRACTION,gap:FRAMES,
            blocks:FRACTION,count:NUMBER,gap:FRAMES, random:FRACTION, or none.
        drop_repeated: Leave out training frames whose image is byte for byte the one before.
        least_readable: Share of the images, and of their depth images, that must be readable; the
            others are left out.
        cache: Folder of the resized frames; the user's cache folder when omitted.
        workers: Processes that prepare batches; 0 prepares them in the main one.
        stream: Read training frames from shards (see posenet shard) while training, about in the
            order in which they lie there, instead of caching them: for datasets larger than the
            disk. Views cannot be filled in from other frames then.
        stream_buffer: Frames in a row among which the next one is drawn; the order of the shards is
            shuffled besides. None is kept in memory for it.
    """

    root: str = ""
    format: str = "auto"
    width: int = 224
    height: int = 168
    intrinsics: tuple[float, float, float, float, int, int] | None = None
    camera: tuple[float, float, float, float] | None = None
    depth_registered: bool = False
    split: str = "auto"
    validation: str = "auto"
    drop_repeated: bool = True
    least_readable: float = 0.95
    cache: str | None = None
    workers: int = 1
    stream: bool = False
    stream_buffer: int = 500


@dataclass(frozen=True)
class AugmentConfig:
    """Random views and colours of training images; every label follows its image.

    Attributes:
        yaw_deg: Turn the camera right or left by up to this angle.
        pitch_deg: Turn it up or down by up to this angle.
        roll_deg: Turn it about its viewing direction by up to this angle.
        depth_share: Share of the views that are rendered from depth at a moved camera centre, where
            a frame has depth. 0 never reads depth.
        shift_m: Move the camera centre by up to this far along each axis in such a view: metres,
            or the scene's own units where its poses are in no metres.
        max_hole_share: A rendered view with more unseen pixels than this is turned, not moved.
        fill_from: Other training frames with depth that fill in what a frame's own camera has not
            seen of its new view; 0 leaves it grey.
        brightness: Multiply by up to 1 +- this.
        contrast: Scale about the mean by up to 1 +- this.
        saturation: Scale the distance to grey by up to 1 +- this.
        hue_deg: Turn the colour circle by up to this.
        blur_px: Gaussian blur of up to this standard deviation, at the network's image size.
        noise: Gaussian noise of up to this standard deviation, for pixel values in [0, 1].
    """

    yaw_deg: float = 15.0
    pitch_deg: float = 15.0
    roll_deg: float = 15.0
    depth_share: float = 0.0
    shift_m: float = 0.25
    max_hole_share: float = 0.3
    fill_from: int = 0
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue_deg: float = 10.0
    blur_px: float = 1.0
    noise: float = 0.03


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        backbone: A row of posenet.models.backbones.BACKBONES.
        weights: imagenet, none, or the path of a file with the backbone's weights. With weights,
            all of the backbone's batch norms keep their statistics: those of millions of images
            are better than those of 32 neighbouring frames.
        rotation: How the network writes a rotation: quaternion, 6d, 9d or rotvec.
        mode: What the head predicts: regression (one pose), classification (the viewpoint bin that
            the image was seen from, and its centre for the pose), or coarse_to_fine (the bin, and
            the pose relative to the centre of each bin).
        bins: Number of viewpoint bins.
        binning: How they divide the training poses: rotation_grid, rotation_kmeans,
            position_kmeans or pose_kmeans.
        decoding: The pose from the bins' probabilities: top1 or mean (weighted).
        frozen_share: Share of the backbone's top-level parts (stem, blocks; a ResNet's stages),
            from the input on, that keep their weights. They cost no backward pass, a small dataset
            has nothing to teach them, and nothing in them is dropped at random.
        confidence: Whether the network also says how sure it is. It costs the poses nothing.
        channels: Width of the head.
        dropout: Share of the head's features dropped in training.
    """

    backbone: str = "efficientnet_lite0"
    weights: str = "imagenet"
    rotation: str = "6d"
    mode: Literal["regression", "classification", "coarse_to_fine"] = "coarse_to_fine"
    bins: int = 8
    binning: str = "pose_kmeans"
    decoding: str = "mean"
    frozen_share: float = 0.0
    confidence: bool = True
    channels: int = 128
    dropout: float = 0.1


@dataclass(frozen=True)
class LossConfig:
    """What is minimised.

    Attributes:
        rotation: A row of posenet.losses.ROTATION_LOSSES.
        translation: A row of posenet.losses.ROBUST_LOSSES.
        translation_scale: The robust losses' scale c in metres: the loss is a function of
            residual / c. Where they begin to doubt a residual; for l1 and l2 a mere factor. A fifth
            of the spread of the training positions (root mean square about their mean) when
            omitted, which is right in any unit.
        translation_alpha: Shape of general_robust, at most 2: 2 is l2, 1 pseudo_huber, 0 cauchy, -2
            geman_mcclure, far below welsch. Other losses have none.
        translation_learned: Train scale and shape of general_robust along, from these values on;
            the shape then stays between 0 and 2.
        viewpoint_weight: Weight of the cross-entropy of the viewpoint bins.
        viewpoint_smoothing: Its targets: none (the bin of the pose), uniform or others (a share
            label_smoothing is spread over all bins, or over the others), or geodesic (near bins
            share by their distance).
        label_smoothing: Share of a target that uniform and others spread.
        smoothing_width: Width of geodesic targets: the standard deviation in units of the root
            mean square distance of training poses to their bins.
        weighting: learned (log-variances, trained along) or fixed.
        rotation_weight: Weight of the rotation loss (per radian for geodesic) when fixed.
        translation_weight: Weight of the translation loss (per translation_scale) when fixed.
    """

    rotation: str = "geodesic"
    translation: str = "l1"
    translation_scale: float | None = None
    translation_alpha: float = 1.0
    translation_learned: bool = False
    viewpoint_weight: float = 1.0
    viewpoint_smoothing: Literal["none", "uniform", "others", "geodesic"] = "geodesic"
    label_smoothing: float = 0.1
    smoothing_width: float = 1.0
    weighting: Literal["learned", "fixed"] = "learned"
    rotation_weight: float = 1.0
    translation_weight: float = 1.0


@dataclass(frozen=True)
class DistillConfig:
    """A trained network with viewpoint bins that a smaller one learns from.

    Attributes:
        teacher: Run folder or checkpoint of the teacher; none when omitted. The student takes over
            its bins, and learns the probabilities that it gives them.
        temperature: Probabilities of both are compared at this temperature; softer above 1.
        teacher_share: Weight of the teacher's probabilities; that of the true bin is the rest.
    """

    teacher: str | None = None
    temperature: float = 2.0
    teacher_share: float = 0.5


@dataclass(frozen=True)
class OptimizationConfig:
    """How it is minimised.

    Attributes:
        epochs: Passes over the training frames, or parts of one (see views).
        views: Random views of each frame in one epoch; 0 for as many as make 500 of all frames, so
            that an epoch of a small dataset is as long as one of a room. 0.1 makes an epoch of a
            tenth of the frames, in whole batches, and the next goes on behind it: where a pass
            takes hours, validation and resume.ckpt need not wait for its end.
        kept_views: Random views of each frame that are made once and kept on the disk, as what the
            frozen layers make of them (see model.frozen_share); each epoch takes one of them at
            random. 0 makes new ones in every epoch.
        batch_size: Images a step, of all processes together.
        learning_rate: Peak rate of the head.
        backbone_rate: Peak rate of the backbone, as a share of the head's.
        weight_decay: Of AdamW; biases, norms and loss weights have none.
        warmup_share: Share of the steps in which the rate rises; it falls as a cosine after.
        ema_decay: Decay a step of the averaged weights that are validated and kept; lower in the
            first steps; 0 for none.
        gradient_clip: Largest gradient norm; 0 for no limit.
        patience: Stop after this many epochs without a better validation; 0 to never.
    """

    epochs: int = 20
    views: float = 0.0
    kept_views: int = 0
    batch_size: int = 32
    learning_rate: float = 1e-3
    backbone_rate: float = 0.3
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    ema_decay: float = 0.99
    gradient_clip: float = 1.0
    patience: int = 0


@dataclass(frozen=True)
class TrainerConfig:
    """Where it runs.

    Attributes:
        accelerator: auto, cpu, gpu or mps.
        devices: Processes on this machine that share each batch: a GPU each, or a part of the
            CPU's cores. 0 for as many as there are GPUs.
        num_nodes: Machines, on each of which torchrun starts the same command.
        threads: Of each process for its computations; 0 for as many as its share of the cores.
        precision: auto (bf16 on a GPU that has it), 32 or bf16.
        compile: Whether torch compiles the backbone, which takes minutes and a C++ compiler before
            the first step, and rounds differently. posenet bench tells what it brings here.
    """

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    threads: int = 0
    precision: Literal["auto", "32", "bf16"] = "auto"
    compile: bool = False


@dataclass(frozen=True)
class Config:
    """All settings of a run.

    Attributes:
        output: The run folder; runs/NAME-OF-THE-SCENE when omitted.
        seed: Seed of everything random.
        data: Which frames.
        augment: Random views and colours.
        model: The network.
        loss: What is minimised.
        distill: Whom to learn from.
        optimization: How it is minimised.
        trainer: Where it runs.
    """

    output: str | None = None
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Settings from a YAML file and ``--group.name value`` overrides, in this order.

    Args:
        path: The YAML file; None for the defaults.
        overrides: Command-line words.

    Raises:
        UsageError: A name is unknown, a value has the wrong type, or the file is no YAML.
    """
    names = [
        f"{group.name}.{entry.name}"
        for group in dataclasses.fields(Config)
        if dataclasses.is_dataclass(group.type)
        for entry in dataclasses.fields(group.type)
    ]
    names += ["output", "seed"]
    for word in overrides:
        name = word[2:].split("=")[0]
        if word.startswith("--") and name not in names:
            same = [known for known in names if known.endswith(f".{name}")]
            hint = f", did you mean {same[0]!r}?" if same else suggest(name, names)
            raise UsageError(f"unknown setting --{name}{hint or _LISTED}")
    if path is None:
        return _build({}, overrides, "")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) or {}
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such configuration; there are some in configs/") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        # ValueError: no text, and also what only looks like a date or a number.
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path}: cannot be read as YAML: {reason}; correct it, there are examples in configs/"
        ) from error
    return _build(values, overrides, f"{path}: ")


class _Loader(yaml.SafeLoader):
    """Refuses a name that stands twice, of which YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The values by name."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused by the plain loader, or as an unknown setting
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"expected each setting once, found {key.value!r} twice",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_run_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Settings from a YAML file, or from a run folder, which is then also the output."""
    if path is not None and path.is_dir():
        return load_config(path / "config.yaml", [f"--output={path}", *overrides])
    return load_config(path, overrides)


def config_from_dict(values: Any) -> Config:
    """Settings from plain values; an unknown name or a wrong type raises UsageError."""
    return _build(values, (), "")


def config_to_dict(config: Config) -> dict[str, Any]:
    """Plain values, as they would stand in YAML."""
    values = dataclasses.asdict(config)
    for name in ("intrinsics", "camera"):
        if values["data"][name] is not None:
            values["data"][name] = list(values["data"][name])
    return values


def dump_config(config: Config) -> str:
    """The settings as YAML."""
    return yaml.safe_dump(config_to_dict(config), sort_keys=False)


def describe_settings() -> str:
    """Every setting, a line or two each: name, meaning, type and default."""
    return _make_parser().format_help()


def _make_parser() -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, add_help=False)
    parser.add_class_arguments(Config)
    return parser


def _build(values: Any, overrides: Sequence[str], source: str) -> Config:
    from jsonargparse import ArgumentError

    _require_known_names(values, Config, source)
    parser = _make_parser()
    where = source
    try:
        parsed = parser.parse_object(values)
        if overrides:
            where = ""
            parsed = parser.parse_args(list(overrides), namespace=parsed)
        parsed = parser.instantiate(parsed)
    except (ArgumentError, TypeError) as error:
        reason = " ".join(str(error).split()).replace("Parser key", "setting")
        raise UsageError(f"{where}{reason}") from error
    config = Config(**{entry.name: parsed[entry.name] for entry in dataclasses.fields(Config)})
    _require_ranges(config)
    return config


# The least and the greatest value of each setting that has them.
_ANY = float("inf")
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "data.width": (16, 8192),
    "data.height": (16, 8192),
    "data.least_readable": (0, 1),
    "data.workers": (0, 256),
    "data.stream_buffer": (1, 1e9),
    "augment.yaw_deg": (0, 60),  # turned further, a wide image would see what was behind it
    "augment.pitch_deg": (0, 60),
    "augment.roll_deg": (0, 180),
    "augment.depth_share": (0, 1),
    "augment.shift_m": (0, _ANY),
    "augment.max_hole_share": (0, 1),
    "augment.fill_from": (0, 100),
    "augment.brightness": (0, 1),
    "augment.contrast": (0, 1),
    "augment.saturation": (0, 1),
    "augment.hue_deg": (0, 180),
    "augment.blur_px": (0, 100),
    "augment.noise": (0, 1),
    "model.bins": (2, 65536),
    "model.frozen_share": (0, 1),
    "model.channels": (1, 65536),
    "model.dropout": (0, 0.99),
    "loss.translation_scale": (1e-9, 1e9),
    "loss.translation_alpha": (-1e9, 2),
    "loss.viewpoint_weight": (0, _ANY),
    "loss.label_smoothing": (0, 1),
    "loss.smoothing_width": (1e-3, _ANY),
    "loss.rotation_weight": (0, _ANY),
    "loss.translation_weight": (0, _ANY),
    "distill.temperature": (0.01, 1000),
    "distill.teacher_share": (0, 1),
    "optimization.epochs": (1, _ANY),
    "optimization.views": (0, _ANY),
    "optimization.kept_views": (0, 10_000),
    "optimization.batch_size": (1, _ANY),
    "optimization.learning_rate": (1e-12, _ANY),
    "optimization.backbone_rate": (0, _ANY),
    "optimization.weight_decay": (0, _ANY),
    "optimization.warmup_share": (0, 1),
    "optimization.ema_decay": (0, 0.999999),
    "optimization.gradient_clip": (0, _ANY),
    "optimization.patience": (0, _ANY),
    "trainer.devices": (0, 1024),
    "trainer.num_nodes": (1, 65536),
    "trainer.threads": (0, 1024),
}


def _require_ranges(config: Config) -> None:
    for name, (low, high) in RANGES.items():
        group, _, entry = name.rpartition(".")
        value = getattr(getattr(config, group) if group else config, entry)
        if value is not None and not low <= value <= high:  # also false for NaN
            limit = f"at least {low:g}" if high == _ANY else f"{low:g} to {high:g}"
            raise UsageError(f"{name}: expected {limit}, found {value}")
    loss = config.loss
    if loss.translation != "general_robust":
        for name in ("translation_alpha", "translation_learned"):
            if getattr(loss, name) != getattr(LossConfig(), name):
                raise UsageError(
                    f"loss.{name}: only general_robust has a shape, found loss.translation "
                    f"{loss.translation}"
                )
    if loss.translation_learned and not 0.01 <= loss.translation_alpha <= 1.99:
        raise UsageError(
            "loss.translation_alpha: expected a start from 0.01 to 1.99 where it is learned, "
            f"found {loss.translation_alpha}"
        )
    if config.distill.teacher is not None and config.model.mode == "regression":
        raise UsageError(
            "distill.teacher: a student learns viewpoint bins, found model.mode regression; "
            "use --model.mode coarse_to_fine or classification"
        )
    expected = "focal_x, focal_y, center_x, center_y"
    for name, also in (("intrinsics", ", width, height"), ("camera", "")):
        camera = getattr(config.data, name)
        if camera is not None and not all(value > 0 for value in camera):
            raise UsageError(
                f"data.{name}: expected {expected}{also} in pixels, all above 0, "
                f"found {list(camera)}"
            )


def _require_known_names(values: Any, cls: Any, source: str, prefix: str = "") -> None:
    """Name the unknown setting and the nearest known one, which jsonargparse does not."""
    if not isinstance(values, dict):
        where = f" under {prefix[:-1]!r}" if prefix else ""
        raise UsageError(
            f"{source}expected 'name: value' settings{where}, found {_REPR.repr(values)}"
        )
    fields = {entry.name: entry for entry in dataclasses.fields(cls)}
    for name, value in values.items():
        if name not in fields:
            hint = suggest(str(name), fields) or _LISTED
            raise UsageError(f"{source}unknown setting {prefix}{name}{hint}")
        if dataclasses.is_dataclass(fields[name].type):
            _require_known_names(value, fields[name].type, source, f"{name}.")
        elif value is None and fields[name].default is not None:
            raise UsageError(f"{source}{prefix}{name}: expected a value, found nothing")
        elif isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value)
        ):
            # Nested aliases of YAML stand for more values than any message, or memory, can hold.
            raise UsageError(
                f"{source}{prefix}{name}: expected a value or a list of them, found "
                f"{_REPR.repr(value)}"
            )
