"""What can go wrong outside the program, by the command line: one line each, and nothing is lost.

Each row of the table breaks a copy of a tiny room, or of a run that was trained on it, and runs one
verb. Whatever the fault, the exit code is right, stderr ends in one line that says what was
expected and found, in which file, and the cure; files that were there are as they were, and nothing
half-written or temporary is left beside them.
"""

import contextlib
import fnmatch
import hashlib
import io
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from posenet.cli import main
from posenet.datasets.toy_room import write_toy_room
from posenet.errors import PosenetError

TRAIN = (
    "train --data.root={room} --data.cache={root}/cache --output={root}/new --data.width=32 "
    "--data.height=24 --data.depth_registered=true --data.workers=0 --trainer.accelerator=cpu "
    "--model.backbone=mobilenet_v3_small --model.weights=none --model.bins=3 "
    "--optimization.epochs=1 --optimization.views=1 --optimization.batch_size=4"
)
INSPECT = "inspect {room} --data.depth_registered=true --output {root}/page"
FIRST, LATER = "seq-01/frame-000000", "seq-01/frame-000003"
CACHE = ("cache", "cache/*.npy", "cache/*.json")


class Shared(NamedTuple):
    """What all rows copy."""

    room: Path
    run: Path


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Shared:
    base = tmp_path_factory.mktemp("faults")
    made = Shared(base / "room", base / "run")
    size = {"frames_per_sequence": 6, "width": 64, "height": 48}
    write_toy_room(made.room, train_sequences=2, test_sequences=1, **size)
    words = TRAIN.replace("{root}/new", str(made.run)).format(room=made.room, root=base).split()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with contextlib.redirect_stderr(io.StringIO()) as err:
        assert main(words) == 0, err.getvalue()
    shutil.rmtree(base / "cache")  # each row has its own
    yield made
    torch.set_num_threads(threads)


class Place:
    """A folder of one row's own, with copies of what its words name."""

    def __init__(self, root: Path, shared: Shared, patch: pytest.MonkeyPatch) -> None:
        self.root, self.shared, self.patch = root, shared, patch

    @property
    def room(self) -> Path:
        if not (self.root / "room").exists():
            shutil.copytree(self.shared.room, self.root / "room")
        return self.root / "room"

    @property
    def run(self) -> Path:
        """The run without what only resuming needs, most of its bytes."""
        if not (self.root / "run").exists():
            left_out = shutil.ignore_patterns("resume.ckpt", "tensorboard")
            shutil.copytree(self.shared.run, self.root / "run", ignore=left_out)
        return self.root / "run"

    @property
    def best(self) -> Path:
        return self.run / "checkpoints" / "best.pt"

    def image(self, name: str = LATER) -> Path:
        return self.room / f"{name}.color.jpg"

    def write(self, name: str, content: str | bytes) -> Path:
        top, _, rest = name.partition("/")
        path = self[top] / rest if top in ("room", "run") else self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def words(self, text: str) -> list[str]:
        """Words of a command line; ``{...}`` is an attribute of the place."""
        return [word.format_map(self) for word in text.split()]

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class Fault(NamedTuple):
    """A row.

    Attributes:
        words: The command line.
        make: What breaks the place.
        says: What the line must say.
        code: The exit code.
        leaves: Patterns of what may be new afterwards; never temporary files.
        bytes_left: How large a file can grow, as on a disk that is full.
    """

    words: str
    make: Callable[[Place], object]
    says: tuple[str, ...]
    code: int = 1
    leaves: tuple[str, ...] = CACHE
    bytes_left: int | None = None


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def place(tmp_path, shared, monkeypatch) -> Place:
    monkeypatch.setenv("POSENET_CACHE", str(tmp_path / "cache"))
    return Place(tmp_path, shared, monkeypatch)


def posenet(words: list[str]) -> Answer:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as error:  # argparse's own
            code = error.code
    return Answer(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def full_disk(bytes_left: int | None) -> Iterator[None]:
    """No file can grow beyond so many bytes: writing fails in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if bytes_left is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def run_fault(fault: Fault, place: Place, *more: str) -> tuple[Answer, dict, dict]:
    """The answer, and what was there before and after."""
    fault.make(place)
    words = place.words(fault.words)
    before = snapshot(place.root)
    with full_disk(fault.bytes_left):
        answer = posenet([*words, *more])
    return answer, before, snapshot(place.root)


def snapshot(folder: Path) -> dict[str, str]:
    """Every file, link and folder below, with what it holds."""
    found = {}
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(top, name)
            if path.is_symlink():
                held = f"-> {path.readlink()}"
            elif path.is_file():
                held = hashlib.blake2b(path.read_bytes()).hexdigest()
            else:
                held = "folder" if path.is_dir() else "other"
            found[str(path.relative_to(folder))] = held
    return found


def require_nothing_lost(before: dict[str, str], after: dict[str, str], leaves) -> None:
    assert {name: after.get(name) for name in before} == before
    new = sorted(after.keys() - before.keys())
    unasked = [name for name in new if not any(fnmatch.fnmatch(name, kept) for kept in leaves)]
    assert unasked == []
    assert not [name for name in new if "/." in f"/{name}"]  # all temporary names begin so


# --- the faults -------------------------------------------------------------------------------


def nothing(place: Place) -> None:
    """The fault is in the words."""


def image_bytes(mode: str = "RGB", kind: str = "PNG", size=(64, 48), **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind, **options)
    return file.getvalue()


def huge_png() -> bytes:
    """A kilobyte that says that it is 60000x45000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 45000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(60000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


def broken(content: bytes | Callable[[bytes], bytes], name: str = LATER):
    """An image is replaced, or cut."""

    def make(place: Place) -> None:
        path = place.image(name)
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return make


def instead(link: str | None, name: str = LATER):
    """A folder, or a link to something, in the place of an image."""

    def make(place: Place) -> None:
        path = place.image(name)
        path.unlink()
        path.mkdir() if link is None else path.symlink_to(link)

    return make


def pose(text: str, name: str = LATER):
    def make(place: Place) -> None:
        (place.room / f"{name}.pose.txt").write_text(text)

    return make


def written(name: str, content: str | bytes):
    return lambda place: place.write(name, content)


def removed(*names: str):
    def make(place: Place) -> None:
        for name in names:
            path = place.room / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return make


def all_of(*makes):
    def make(place: Place) -> None:
        for each in makes:
            each(place)

    return make


def raised(target: str, error: Callable[[], BaseException]):
    """An inner function fails."""

    def fail(*_, **__):
        raise error()

    return lambda place: place.patch.setattr(target, fail)


ROW = "{image},1,0,0,0,{x},0,0,60,60,31.5,23.5,64,48\n"
HEAD = "image,qw,qx,qy,qz,center_x_m,center_y_m,center_z_m,"
HEAD += "focal_x,focal_y,principal_x,principal_y,width,height\n"
CAMERAS = "1 PINHOLE 64 48 60 60 32 24\n"
MATRIX = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def table(*names: str) -> str:
    return HEAD + "".join(ROW.format(image=name, x=i) for i, name in enumerate(names))


def transforms(name: str, matrix=MATRIX) -> str:
    frame = {"file_path": name, "transform_matrix": matrix}
    return json.dumps({"fl_x": 60, "w": 64, "h": 48, "frames": [frame]})


def of_set(words: str = TRAIN) -> str:
    """The same on the folder ``set``, which a row writes."""
    return words.replace("{room}", "{root}/set")


IMAGES = {
    "truncated": Fault(
        TRAIN, broken(lambda data: data[:300]), (f"{LATER}.color.jpg: expected an image", "copy it")
    ),
    "truncated, the first": Fault(TRAIN, broken(lambda data: data[:300], FIRST), (FIRST,)),
    "zero bytes": Fault(TRAIN, broken(b""), (LATER, "expected an image")),
    "zero bytes, the first": Fault(TRAIN, broken(b"", FIRST), (FIRST,)),
    "a bomb": Fault(TRAIN, broken(huge_png()), (LATER,)),
    "a bomb, the first": Fault(TRAIN, broken(huge_png(), FIRST), (FIRST,)),
    "a bomb to predict": Fault("predict {run} {room}/seq-01", broken(huge_png()), (LATER,)),
    "a folder named so to predict": Fault(
        "predict {run} {root}/x.jpg", lambda p: (p.root / "x.jpg").mkdir(), ("x.jpg", "no image")
    ),
    "a link to itself to predict": Fault(
        "predict {run} {room}/seq-01", instead(Path(LATER).name + ".color.jpg"), (LATER,)
    ),
    "a path through a file": Fault(
        "predict {run} {room}/TrainSplit.txt/a.jpg", nothing, ("TrainSplit.txt/a.jpg",)
    ),
    "other proportions": Fault(TRAIN, broken(image_bytes(size=(48, 48))), (LATER, "48x48")),
    "line ends in a name": Fault(
        "predict {run} {root}/a\\nposenet:b.jpg", nothing, ("a\\nposenet:b.jpg",)
    ),
    "text": Fault(TRAIN, broken(b"not an image"), (LATER,)),
    "escape of poses.csv": Fault(
        of_set(), written("set/poses.csv", table("../a.png")), ("poses.csv:2", "'../a.png'")
    ),
    "absolute in poses.csv": Fault(
        of_set(), written("set/poses.csv", table("/etc/a.png")), ("poses.csv:2", "/etc/a.png")
    ),
    "a control character in poses.csv": Fault(
        of_set(), written("set/poses.csv", table("a\x1b[2J.png")), ("poses.csv:2", "\\x1b[2J")
    ),
    "escape of transforms.json": Fault(
        of_set(),
        written("set/transforms.json", transforms("x/../../a.png")),
        ("transforms.json", "x/../../a.png"),
    ),
    "absolute in transforms.json": Fault(
        of_set(),
        written("set/transforms.json", transforms("C:\\a.png")),
        ("transforms.json", "C:"),
    ),
    "escape of COLMAP": Fault(
        of_set(),
        all_of(
            written("set/sparse/0/cameras.txt", CAMERAS),
            written("set/sparse/0/images.txt", "1 1 0 0 0 0 0 0 1 ../../a.png\n\n"),
        ),
        ("images.txt:1", "../../a.png"),
    ),
    "escape of Cambridge": Fault(
        of_set(),
        written("set/dataset_train.txt", "seq1/../../a.png 0 0 0 1 0 0 0\n"),
        ("dataset_train.txt", "../../a.png"),
    ),
    "escape of a split file": Fault(
        TRAIN, written("room/TrainSplit.txt", "../seq-01\n"), ("TrainSplit.txt:1", "../seq-01")
    ),
}

POSES = {
    "NaN": Fault(TRAIN, pose("nan " * 16), (f"{LATER}.pose.txt", "not finite")),
    "Inf": Fault(TRAIN, pose("inf " * 16), (f"{LATER}.pose.txt", "not finite")),
    "sheared": Fault(TRAIN, pose("1 1 0 0 0 1 0 0 0 0 1 0 0 0 0 1"), (LATER, "rotation")),
    "mirrored": Fault(TRAIN, pose("1 0 0 0 0 1 0 0 0 0 -1 0 0 0 0 1"), (LATER, "-1.000")),
    "15 numbers": Fault(TRAIN, pose("1 " * 15), (LATER, "found 15")),
    "words": Fault(TRAIN, pose("one " * 16), (LATER, "4x4 numbers")),
    "empty": Fault(TRAIN, pose(""), (LATER, "found 0")),
    "missing": Fault(TRAIN, removed(f"{LATER}.pose.txt"), (LATER, "missing")),
    "huge": Fault(TRAIN, pose("1 0 0 1e300 0 1 0 0 0 0 1 0 0 0 0 1"), ("1e+300",)),
    "huge in a table": Fault(
        of_set(),
        written("set/poses.csv", HEAD + "a.png,1,0,0,0,1e300,0,0,60,60,31.5,23.5,64,48\n"),
        ("1e+300", "of a.png"),
    ),
    "twice": Fault(of_set(), written("set/poses.csv", table("a.png", "a.png")), ("a.png twice",)),
    "no quaternion": Fault(
        "convert {root}/a.txt {root}/b.csv --to csv",
        written("a.txt", "1 0 0 0 0 0 0 0\n"),
        ("a.txt:1", "length 1"),
    ),
    "NaN to convert": Fault(
        "convert {room} {root}/b.csv --to csv", pose("nan " * 16), (LATER, "not finite")
    ),
    "nothing to convert": Fault(
        "convert {root}/a.txt {root}/b.csv --to csv", written("a.txt", ""), ("a.txt",)
    ),
    "binary to convert": Fault(
        "convert {root}/a.txt {root}/b.csv --to csv", written("a.txt", b"\xff\x00"), ("a.txt",)
    ),
    "binary to evaluate": Fault(
        "evaluate --predictions {root}/a.txt --ground-truth {room}",
        written("a.txt", b"\xff\x00"),
        ("a.txt",),
    ),
    "words to evaluate": Fault(
        "evaluate --predictions {root}/a.txt --ground-truth {room}",
        written("a.txt", "seq-01/frame-000000 1 0 0 0 x 0 0\n"),
        ("a.txt",),
    ),
    "other names to compare": Fault(
        "compare {run} {root}/a.txt --root {room}",
        written("a.txt", "x 1 0 0 0 0 0 0\n"),
        ("a.txt",),
    ),
    "a directory to compare": Fault("compare {run} {root} --root {room}", nothing, ("expected",)),
}


def keep(count: int):
    """Only so many frames of the first sequence, which is all there is to train on."""

    def make(place: Place) -> None:
        place.write("room/TrainSplit.txt", "sequence1\n")
        for path in (place.room / "seq-01").iterdir():
            if int(path.name[6:12]) >= count:
                path.unlink()

    return make


SPLITS = {
    "one frame to train and validate on": Fault(TRAIN, keep(1), ("data.validation",), 2),
    "one frame to train on, in one feature": Fault(
        f"{TRAIN} --data.validation=none --model.mode=regression", keep(1), ("batch_size",), 2
    ),
    "one frame to train on, in bins": Fault(
        f"{TRAIN} --data.validation=none --augment.yaw_deg=0 --augment.pitch_deg=0 "
        "--augment.roll_deg=0",
        keep(1),
        ("model.bins", "use fewer"),
    ),
    "nothing to train on": Fault(TRAIN, keep(0), ("seq-01", "holds no frame-XXXXXX"), 1, ()),
    "no sequence": Fault(
        TRAIN, written("room/TrainSplit.txt", "\n"), ("TrainSplit.txt: names no sequence",)
    ),
    "an unknown sequence": Fault(
        TRAIN, written("room/TrainSplit.txt", "sequence9\n"), ("TrainSplit.txt: names seq-09",)
    ),
    "one in both": Fault(
        TRAIN, written("room/TestSplit.txt", "sequence1\n"), ("seq-01 is named by both",)
    ),
    "an unknown validation": Fault(
        f"{TRAIN} --data.validation=sequences:seq-7", nothing, ("'seq-7'", "known: seq-01"), 2
    ),
    "all validate": Fault(
        f"{TRAIN} --data.validation=sequences:seq-01,seq-02", nothing, ("no frame to train on",), 2
    ),
    "all test": Fault(
        f"{TRAIN} --data.split=sequences:seq-01,seq-02,seq-03", nothing, ("data.split",), 2
    ),
    "a share of all": Fault(f"{TRAIN} --data.split=tail:1", nothing, ("tail:1",), 2),
    "evaluating nothing": Fault(
        "evaluate {run} --root {room}", removed("TestSplit.txt"), ("test split has no frames",)
    ),
}

SETTINGS = {
    "an unknown key": Fault(
        "train {root}/a.yaml", written("a.yaml", "model: {bakbone: x}\n"), ("a.yaml", "bakbone"), 2
    ),
    "a wrong type": Fault(
        "train {root}/a.yaml", written("a.yaml", "seed: [1]\n"), ("a.yaml", "seed"), 2
    ),
    "out of range": Fault(
        "train {root}/a.yaml", written("a.yaml", "optimization: {epochs: 0}\n"), ("epochs",), 2
    ),
    "a cyclic anchor": Fault(
        "train {root}/a.yaml", written("a.yaml", "data: &a {root: *a}\n"), ("a.yaml", "root"), 2
    ),
    "a cyclic list": Fault("train {root}/a.yaml", written("a.yaml", "&a [*a]\n"), ("a.yaml",), 2),
    "a cyclic group": Fault(
        "train {root}/a.yaml", written("a.yaml", "data: &a\n  data: *a\n"), ("a.yaml",), 2
    ),
    "a bomb": Fault(
        "train {root}/a.yaml",
        written(
            "a.yaml",
            "seed: &a0 [x, x]\n"
            + "".join(f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
            + "data: {root: *a11}\n",
        ),
        ("a.yaml",),
        2,
    ),
    "a bomb of a value": Fault(
        "train {root}/a.yaml",
        written(
            "a.yaml",
            "data:\n  root: "
            + "".join(f"[&a{i} " for i in range(8, 0, -1))
            + "[x]"
            + "".join(f"{', *a' + str(i) if i else ''}" * 10 + "]" for i in range(1, 9))
            + "\n",
        ),
        ("a.yaml",),
        2,
    ),
    "python tags": Fault(
        "train {root}/a.yaml",
        written("a.yaml", "output: !!python/object/apply:os.system ['touch ran']\n"),
        ("a.yaml",),
        2,
    ),
    "empty": Fault("train {root}/a.yaml", written("a.yaml", ""), ("data.root",), 2),
    "a list": Fault("train {root}/a.yaml", written("a.yaml", "- a\n- b\n"), ("a.yaml",), 2),
    "a word": Fault("train {root}/a.yaml", written("a.yaml", "words\n"), ("a.yaml",), 2),
    "binary": Fault("train {root}/a.yaml", written("a.yaml", b"\x00\xff\xfe"), ("a.yaml",), 2),
    "a checkpoint": Fault("train {best}", nothing, ("best.pt",), 2),
    "a key twice": Fault(
        "train {root}/a.yaml", written("a.yaml", "seed: 1\nseed: 2\n"), ("a.yaml", "seed"), 2
    ),
    "a key of a group twice": Fault(
        "train {root}/a.yaml",
        written("a.yaml", "data: {root: a, root: b}\n"),
        ("a.yaml", "root"),
        2,
    ),
    "an impossible date": Fault(
        "train {root}/a.yaml", written("a.yaml", "seed: 2024-13-45\n"), ("a.yaml",), 2
    ),
    "1500 brackets": Fault(
        "train {root}/a.yaml", written("a.yaml", "seed: " + "[" * 1500), ("a.yaml",), 2
    ),
    "a folder": Fault("train {room}", nothing, ("config.yaml",), 2),
    "no number": Fault(f"{TRAIN} --optimization.epochs=nan", nothing, ("epochs",), 2),
    "a bad camera": Fault(f"{TRAIN} --data.intrinsics=[1,2]", nothing, ("data.intrinsics",), 2),
}

DISK_FULL = ("File too large", "free some space")
NO_CACHE = ("File too large", "--data.cache")
UNDER_A_FILE = written("file", "mine")
NEW_RUN = ("new", "new/*")

DISK = {
    "the cache": Fault(TRAIN, nothing, ("cache", *NO_CACHE), bytes_left=1000),
    "the cache, later": Fault(TRAIN, nothing, ("cache", *NO_CACHE), bytes_left=20_000),
    "the first checkpoint": Fault(
        TRAIN, nothing, ("new", *DISK_FULL), leaves=(*CACHE, *NEW_RUN), bytes_left=60_000
    ),
    "within the first checkpoint": Fault(
        TRAIN, nothing, ("new", *DISK_FULL), leaves=(*CACHE, *NEW_RUN), bytes_left=3_000_000
    ),
    "the state to resume from": Fault(
        TRAIN, nothing, ("new", *DISK_FULL), leaves=(*CACHE, *NEW_RUN), bytes_left=8_000_000
    ),
    "evaluate": Fault(
        "evaluate {run} --root {room}", nothing, ("run", *DISK_FULL), bytes_left=60000
    ),
    "evaluate, early": Fault(
        "evaluate {run} --root {room} --output {root}/e",
        nothing,
        ("/e", *DISK_FULL),
        bytes_left=60000,
    ),
    "evaluate a file": Fault(
        "evaluate --predictions {root}/p.csv --ground-truth {root}/p.csv --output {root}/e",
        written("p.csv", table("a.png", "b.png", "c.png")),
        ("/e", *DISK_FULL),
        bytes_left=60000,
    ),
    "compare": Fault(
        "compare {root}/p.csv {root}/q.csv --ground-truth {root}/p.csv --output {root}/e",
        all_of(
            written("p.csv", table("a.png", "b.png", "c.png")),
            written("q.csv", table("a.png", "b.png", "c.png")),
        ),
        ("/e", *DISK_FULL),
        bytes_left=20000,
    ),
    "predict": Fault(
        "predict {run} {room}/seq-01 --output {root}/poses.jsonl",
        nothing,
        ("poses.jsonl", *DISK_FULL),
        leaves=("poses.jsonl",),  # the lines that there was room for
        bytes_left=1000,
    ),
    "predict, whole": Fault(
        "predict {run} {room}/seq-01 --format colmap --output {root}/model",
        nothing,
        ("model", *DISK_FULL),
        bytes_left=100,
    ),
    "predict, overlay": Fault(
        "predict {run} {room}/seq-01 --overlay {root}/drawn",
        nothing,
        ("drawn", *DISK_FULL),
        leaves=("drawn",),
        bytes_left=100,
    ),
    "convert": Fault(
        "convert {room} {root}/poses.csv --to csv",
        nothing,
        ("poses.csv", *DISK_FULL),
        bytes_left=500,
    ),
    "convert over": Fault(
        "convert {room} {root}/poses.csv --to csv --force",
        written("poses.csv", "mine"),
        ("poses.csv", *DISK_FULL),
        bytes_left=500,
    ),
    "inspect": Fault(INSPECT, nothing, ("page", *DISK_FULL), bytes_left=1000),
    "inspect over": Fault(
        INSPECT, written("page/inspection.html", "mine"), ("page", *DISK_FULL), bytes_left=1000
    ),
    "losses": Fault("losses --plot {root}/l", nothing, ("/l", *DISK_FULL), bytes_left=1000),
    "the demo": Fault(
        "demo --output {root}/d",
        nothing,
        ("d/room", "is the disk full?"),
        leaves=("d", "d/*"),
        bytes_left=100,
    ),
    "a cache below a file": Fault(
        TRAIN.replace("{root}/cache", "{root}/file/cache"),
        UNDER_A_FILE,
        ("file/cache", "--data.cache"),
    ),
    "a run below a file": Fault(
        TRAIN.replace("{root}/new", "{root}/file/new"), UNDER_A_FILE, ("file/new", "--output")
    ),
    "a run in a file": Fault(
        TRAIN.replace("{root}/new", "{root}/file"), UNDER_A_FILE, ("file", "--output")
    ),
    "evaluate below a file": Fault(
        "evaluate {run} --root {room} --output {root}/file/e", UNDER_A_FILE, ("file/e", "--output")
    ),
    "compare below a file": Fault(
        "compare {root}/p.csv {root}/q.csv --ground-truth {root}/p.csv --output {root}/file/e",
        all_of(
            UNDER_A_FILE,
            written("p.csv", table("a.png", "b.png", "c.png")),
            written("q.csv", table("a.png", "b.png", "c.png")),
        ),
        ("file/e", "--output"),
    ),
    "predict below a file": Fault(
        "predict {run} {room}/seq-01 --output {root}/file/p", UNDER_A_FILE, ("file/p", "--output")
    ),
    "overlay below a file": Fault(
        "predict {run} {room}/seq-01 --overlay {root}/file/p", UNDER_A_FILE, ("file/p", "--overlay")
    ),
    "convert below a file": Fault(
        "convert {room} {root}/file/p.csv --to csv", UNDER_A_FILE, ("file/p.csv",)
    ),
    "inspect below a file": Fault(
        INSPECT.replace("{root}/page", "{root}/file/page"), UNDER_A_FILE, ("file/page", "--output")
    ),
    "export": Fault(
        "export {run} --to torch-export --output {root}/m.pt2",
        nothing,
        ("m.pt2", *DISK_FULL),
        bytes_left=100_000,
    ),
    "export below a file": Fault(
        "export {run} --to torch-export --output {root}/file/m.pt2",
        UNDER_A_FILE,
        ("file", "--output"),
    ),
    "losses below a file": Fault("losses --plot {root}/file/l", UNDER_A_FILE, ("file/l", "--plot")),
    "the demo below a file": Fault(
        "demo --output {root}/file/d", UNDER_A_FILE, ("file/d", "--output")
    ),
}


class Hostile:
    """Runs code when a careless reader unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def hostile(place: Place) -> None:
    """Both as torch writes it and as a bare pickle."""
    torch.save({"posenet_version": Hostile(place.root / "ran")}, place.best)


def hostile_pickle(place: Place) -> None:
    place.best.write_bytes(pickle.dumps(Hostile(place.root / "ran")))


def content(**changes: Any):
    """A checkpoint with other values; of None it has none."""

    def make(place: Place) -> None:
        old = torch.load(place.best, weights_only=True)
        kept = {k: v for k, v in (old | changes).items() if v is not None}
        torch.save(kept, place.best)

    return make


def of_epoch_7(place: Place) -> None:
    path = place.run / "checkpoints" / "last.pt"
    torch.save({**torch.load(path, weights_only=True), "epoch": 7}, path)


def cut(name: str, keep: float):
    def make(place: Place) -> None:
        path = place.run / "checkpoints" / name
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data))])

    return make


def elsewhere(place: Place) -> None:
    for path in place.room.rglob("*.pose.txt"):
        matrix = np.loadtxt(path)
        matrix[:3, 3] += 10.0
        np.savetxt(path, matrix)


def other_weights(place: Place) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, place.root / "w.pt")


EVALUATE = "evaluate {run} --root {room}"
PREDICT = "predict {run} {room}/seq-03"
CHECKPOINTS = {
    "hostile": Fault(PREDICT, hostile, ("best.pt", "train again")),
    "a hostile pickle": Fault(PREDICT, hostile_pickle, ("best.pt", "train again")),
    "hostile weights": Fault(
        f"{TRAIN} --model.weights={{root}}/w.pt",
        lambda p: torch.save({"a": Hostile(p.root / "ran")}, p.root / "w.pt"),
        ("w.pt", "not a file of weights"),
    ),
    "half": Fault(PREDICT, cut("best.pt", 0.5), ("best.pt", "damaged")),
    "all but the end": Fault(EVALUATE, cut("best.pt", 0.999), ("best.pt", "damaged")),
    "zero bytes": Fault(EVALUATE, cut("best.pt", 0.0), ("best.pt", "damaged")),
    "a newer format": Fault(EVALUATE, content(format=99), ("best.pt", "format 99", "update")),
    "without a format": Fault(EVALUATE, content(format=None), ("best.pt", "format")),
    "without settings": Fault(EVALUATE, content(config=None), ("best.pt", "config")),
    "without a network": Fault(EVALUATE, content(network=None), ("best.pt", "network")),
    "with settings of another kind": Fault(EVALUATE, content(config=[1]), ("best.pt",)),
    "with an origin of another kind": Fault(EVALUATE, content(origin="here"), ("best.pt",)),
    "with a camera of another kind": Fault(EVALUATE, content(intrinsics=[1]), ("best.pt",)),
    "with a lens of another kind": Fault(EVALUATE, content(distortion=[1]), ("best.pt",)),
    "another library's": Fault(
        PREDICT, lambda p: torch.save([1], p.best), ("best.pt", "expected a checkpoint of posenet")
    ),
    "another scene's": Fault(EVALUATE, elsewhere, ("trained on",)),
    "an empty folder": Fault(
        "evaluate {root}/empty", lambda p: (p.root / "empty").mkdir(), ("empty", "posenet train")
    ),
    "no folder": Fault("evaluate {root}/nowhere", nothing, ("nowhere", "no such checkpoint")),
    "a folder as a checkpoint": Fault(
        EVALUATE,
        lambda p: (p.best.unlink(), p.best.mkdir(), (p.run / "checkpoints/last.pt").unlink()),
        ("run",),
    ),
    "no weights file": Fault(
        f"{TRAIN} --model.weights={{root}}/w.pt", nothing, ("w.pt: no such weights file",)
    ),
    "weights of another network": Fault(
        f"{TRAIN} --model.weights={{root}}/w.pt", other_weights, ("w.pt", "mobilenet_v3_small")
    ),
    "weights of zero bytes": Fault(
        f"{TRAIN} --model.weights={{root}}/w.pt", written("w.pt", b""), ("w.pt",)
    ),
    "weights that need a network": Fault(
        f"{TRAIN} --model.weights=imagenet",
        raised("torch.hub.download_url_to_file", lambda: OSError("no network")),
        ("cannot be downloaded", "--model.weights FILE"),
    ),
    "a teacher that is none": Fault(
        f"{TRAIN} --distill.teacher={{root}}/t.pt", written("t.pt", b""), ("t.pt",)
    ),
    "resuming without settings": Fault(
        "train {run} --resume", lambda p: (p.run / "config.yaml").unlink(), ("config.yaml",), 2
    ),
    "resuming without a state": Fault(
        "train {run} --resume", of_epoch_7, ("resume.ckpt", "7 epochs", "--output")
    ),
    "no ONNX file": Fault(
        "predict {root}/m.onnx {room}/seq-03", written("m.onnx", b"x" * 100), ("onnx",)
    ),
    "a checkpoint named as an ONNX file": Fault(
        "predict {root}/m.onnx {room}/seq-03",
        lambda p: shutil.copy(p.best, p.root / "m.onnx"),
        ("onnx",),
    ),
    "a broken split.json": Fault(EVALUATE, written("run/split.json", "{"), ("split.json",)),
}


def no_memory(text: str = "") -> BaseException:
    return torch.OutOfMemoryError(text or "CUDA out of memory. Tried to allocate 20.00 MiB")


def no_memory_cpu() -> BaseException:
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 9437184 bytes. Error code 12 (Cannot allocate memory)"
    )


FORWARD = "posenet.models.network.PoseNetwork.forward"
MEMORY = {
    "training": Fault(
        TRAIN,
        raised(FORWARD, no_memory),
        ("out of memory", "--optimization.batch_size"),
        leaves=(*CACHE, *NEW_RUN),
    ),
    "training without a GPU": Fault(
        TRAIN,
        raised(FORWARD, no_memory_cpu),
        ("out of memory", "--optimization.batch_size", "--data.width"),
        leaves=(*CACHE, *NEW_RUN),
    ),
    "predicting": Fault(PREDICT, raised(FORWARD, no_memory_cpu), ("memory", "--batch-size")),
    "evaluating": Fault(EVALUATE, raised(FORWARD, no_memory), ("memory",)),
    "decoding": Fault(
        TRAIN, raised("posenet.datasets.decoding.read_posed_image", MemoryError), ("memory",)
    ),
    "inspecting": Fault(
        INSPECT, raised("posenet.inspection.run.gather_evidence", MemoryError), ("memory",)
    ),
}

LOSS = {
    "a rate that is too high": Fault(
        f"{TRAIN} --optimization.learning_rate=1e30 --optimization.epochs=4",
        nothing,
        ("the loss is", "--optimization.learning_rate"),
        leaves=(*CACHE, *NEW_RUN),
    ),
}

STOPPED = ("interrupted",)
CTRL_C = {
    "decoding": ("posenet.datasets.decoding.read_posed_image", TRAIN, CACHE),
    "training": (FORWARD, TRAIN, (*CACHE, *NEW_RUN)),
    "calibrating": ("posenet.training.run.calibrate", TRAIN, (*CACHE, *NEW_RUN)),
    "evaluating": (FORWARD, EVALUATE, CACHE),
    "drawing": ("posenet.evaluation.evaluate.plot_error_cdf", EVALUATE, CACHE),
    "reporting": ("posenet.evaluation.report.page.render_report", EVALUATE, CACHE),
    "predicting": (FORWARD, PREDICT, ()),
    "predicting into a file": (FORWARD, f"{PREDICT} --output {{root}}/p", ("p",)),
    "inspecting": ("posenet.inspection.run.gather_evidence", INSPECT, ()),
    "drawing an inspection": ("posenet.inspection.run.draw_all", INSPECT, ()),
    "converting": (
        "posenet.conversion.writing.read_pose_file",
        "convert {room} {root}/a.csv --to csv",
        (),
    ),
    "comparing": (FORWARD, "compare {run} {run}/checkpoints/last.pt --root {room}", CACHE),
    "exporting": (
        "posenet.inference.export.trace",
        "export {run} --to torch-export --output {root}/m.pt2",
        CACHE,
    ),
    "drawing losses": ("posenet.gallery.page.save_figure", "losses --plot {root}/l", ()),
}
CTRL_C = {
    name: Fault(words, raised(target, KeyboardInterrupt), STOPPED, 130, leaves)
    for name, (target, words, leaves) in CTRL_C.items()
}


GROUPS = {
    "images": IMAGES,
    "poses": POSES,
    "splits": SPLITS,
    "settings": SETTINGS,
    "disk": DISK,
    "checkpoints": CHECKPOINTS,
    "memory": MEMORY,
    "loss": LOSS,
    "ctrl-c": CTRL_C,
}
FAULTS = {
    f"{group}: {name}": fault for group, rows in GROUPS.items() for name, fault in rows.items()
}


ONE_OF_EACH = [f"{group}: {next(iter(rows))}" for group, rows in GROUPS.items()]


def test_the_table_is_as_long_as_it_says():
    assert len(FAULTS) >= 130


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_nothing_is_lost(name, place):
    fault = FAULTS[name]
    answer, before, after = run_fault(fault, place)
    *notes, line = answer.err.splitlines()
    assert answer.code == fault.code, answer.err
    assert line.startswith("posenet: interrupted" if fault.code == 130 else "posenet: error: ")
    assert not any(word in note for note in notes for word in ("error", "Traceback", "Warning"))
    assert line.isprintable()
    assert len(line) < 800
    for part in fault.says:
        assert part in line
    require_nothing_lost(before, after, fault.leaves)
    for path in place.root.rglob("new/checkpoints/*"):
        torch.load(path, weights_only=True)  # whole, or not there


@pytest.mark.parametrize("name", [name for name in ONE_OF_EACH if "ctrl-c" not in name])
def test_debug_shows_where_a_fault_was_found(name, place):
    with pytest.raises((PosenetError, RuntimeError)) as caught:
        run_fault(FAULTS[name], place, "--debug")
    assert any(Path(entry.path).parts[-3:-1] == ("posenet", "cli") for entry in caught.traceback)


# --- what is no fault -------------------------------------------------------------------------


def sixteen_bits() -> bytes:
    """The grey values of an 8 bit image, 256 times as large."""
    grey = np.asarray(Image.open(io.BytesIO(image_bytes("L"))))
    file = io.BytesIO()
    Image.fromarray((grey.astype(np.uint16) << 8) + grey).save(file, "PNG")
    return file.getvalue()


def animated() -> bytes:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


UNUSUAL = {  # a file that can be read, and one that should be read alike
    "16 bits": (sixteen_bits(), image_bytes("L")),
    "grey": (image_bytes("L"), image_bytes("L", "BMP")),
    "grey with alpha": (image_bytes("LA"), image_bytes("L")),
    "black and white": (image_bytes("1"), image_bytes("1", "BMP")),
    "CMYK": (image_bytes("CMYK", "TIFF"), image_bytes()),
    "palette": (image_bytes("P"), image_bytes("P", "BMP")),
    "RGBA": (image_bytes("RGBA"), image_bytes()),
    "animated": (animated(), None),
    "of another ending": (image_bytes("RGB", "BMP"), image_bytes()),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_images_are_read(kind, place):
    content, alike = UNUSUAL[kind]
    paths = [place.write("a.png", content)]
    paths += [place.write("b.png", alike)] if alike is not None else []
    answer = posenet(["predict", str(place.run), *map(str, paths)])
    assert (answer.code, "error" in answer.err) == (0, False)
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert len(lines) == len(paths)
    for line in lines[1:]:
        np.testing.assert_allclose(line["camera_center"], lines[0]["camera_center"], atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_frames_than_a_batch_are_enough(count, place):
    keep(count)(place)
    words = f"{TRAIN} --data.validation=none --data.width=64 --data.height=48"
    answer = posenet(place.words(words))
    assert (answer.code, f"{count} training" in answer.err) == (0, True)
    kept = torch.load(place.root / "new" / "checkpoints" / "last.pt", weights_only=True)["network"]
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_folders_that_lead_back_to_themselves_end(place):
    (place.room / "seq-03" / "again").symlink_to(place.room, target_is_directory=True)
    (place.room / "again").symlink_to(".", target_is_directory=True)
    once = posenet(place.words("predict {run} {room}/seq-03"))
    assert (once.code, once.out.count("\n")) == (0, 6)
    pattern = posenet(place.words("predict {run} {room}/**/*.jpg"))
    assert (pattern.code, pattern.out.count("\n")) == (0, 18)
    assert posenet(place.words(EVALUATE + " --output {root}/e")).code == 0


@pytest.fixture
def half_printed(place) -> list[Path]:
    """Names that no terminal should get as they are."""
    names = ["a\nposenet: error: b.jpg", "\x1b[2J.jpg", os.fsdecode(b"caf\xe9.jpg"), "\u2028.jpg"]
    return [place.root / name for name in names]


def test_names_are_printed_safely(place, half_printed):
    answer = posenet(["predict", str(place.run), *map(str, half_printed)])
    assert answer.code == 1
    assert answer.err.count("\n") == len(half_printed)
    assert answer.err.replace("\n", "").isprintable()
    for path in half_printed:
        shutil.copy(place.image(), path)
    for form in ("json", "csv", "tum"):
        answer = posenet(["predict", str(place.run), *map(str, half_printed), "--format", form])
        assert answer.code == 0
        assert answer.err.replace("\n", "").isprintable()


def test_a_name_that_is_no_text_does_not_end_the_process(place, half_printed):
    """stdout is strict about text where stderr is not: only a process of its own shows it."""
    shutil.copy(place.image(), half_printed[2])
    words = ["predict", str(place.run), str(half_printed[2]), "--format", "csv"]
    done = subprocess.run(
        [sys.executable, "-m", "posenet", *words], capture_output=True, timeout=120
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert b"caf\xe9.jpg" in done.stdout


def damage(name: str, change: Callable[[bytes], bytes]):
    def make(cache: Path) -> None:
        (path,) = cache.glob(f"*.color.{name}")
        path.write_bytes(change(path.read_bytes()))

    return make


def other_shape(cache: Path) -> None:
    (path,) = cache.glob("*.color.npy")
    np.save(path, np.load(path)[:-1])


CACHE_DAMAGE = {
    "array cut": damage("npy", lambda data: data[:-100]),
    "array cut in its header": damage("npy", lambda data: data[:50]),
    "array of zero bytes": damage("npy", lambda data: b""),
    "array of something else": damage("npy", lambda data: b"x" * len(data)),
    "array of another shape": other_shape,
    "json cut": damage("json", lambda data: data[:-5]),
    "json of zero bytes": damage("json", lambda data: b""),
    "json of something else": damage("json", lambda data: b"[1]"),
    "json without digests": damage("json", lambda data: data.replace(b"digests", b"digest")),
    "array gone": lambda cache: next(cache.glob("*.npy")).unlink(),
    "json gone": lambda cache: next(cache.glob("*.json")).unlink(),
}


@pytest.mark.parametrize("kind", CACHE_DAMAGE)
def test_a_damaged_cache_is_built_again(kind, place, monkeypatch):
    """The measured errors are those of the whole cache."""
    monkeypatch.setattr("posenet.evaluation.compare.measure_latency", lambda opened: 1.0)
    words = place.words("compare {run} {run}/checkpoints/last.pt --root {room} --json")
    first = posenet(words)
    assert first.code == 0
    CACHE_DAMAGE[kind](place.root / "cache")
    second = posenet(words)
    assert (second.code, second.out) == (0, first.out)
    assert {path.suffix for path in (place.root / "cache").iterdir()} == {".npy", ".json"}


CLOSED = {
    "convert": "convert {room} {root}/a.csv --to csv",
    "inspect": f"{INSPECT} --json",
    "predict": PREDICT,
    "evaluate": f"{EVALUATE} --json --output {{root}}/e",
    "evaluate, a table": f"{EVALUATE} --output {{root}}/e",
    "compare": "compare {run} {run}/checkpoints/last.pt --root {room}",
    "losses": "losses",
}


@pytest.mark.parametrize("verb", CLOSED)
def test_a_reader_that_has_gone_is_no_error(verb, place, monkeypatch):
    """As in ``posenet ... | head``."""
    words = place.words(CLOSED[verb])
    reading, writing = os.pipe()
    os.close(reading)
    err = io.StringIO()
    with os.fdopen(writing, "w") as out, contextlib.redirect_stderr(err):
        monkeypatch.setattr(sys, "stdout", out)
        assert main(words) == 0
        monkeypatch.undo()
    assert "error" not in err.getvalue()


def test_a_full_disk_behind_stdout_is_one_line(place):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "posenet", "losses"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("posenet: error: standard output: No space left on device; ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "posenet-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted: that needs the rights of root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "words",
    [
        TRAIN.replace("{root}/new", "{root}/disk/new"),
        f"{EVALUATE} --output {{root}}/disk/e",
    ],
    ids=["train", "evaluate"],
)
def test_a_disk_that_is_really_full(words, place, small_disk):
    answer = posenet(place.words(words))
    assert answer.code == 1
    line = answer.err.splitlines()[-1]
    assert line.startswith(f"posenet: error: {small_disk}/")
    assert "No space left on device" in line
    assert "free some space" in line
    assert not [path for path in small_disk.rglob("*") if path.name.startswith(".")]
