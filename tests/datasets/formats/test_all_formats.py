"""What holds for every format: the table is walked."""

import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from posenet.datasets.formats import FORMATS, find_format
from posenet.datasets.images import read_posed_image
from posenet.errors import DataError
from posenet.geometry import Intrinsics

# The text and binary files that strangers write, and a camera for where the format needs one.
FILES = {
    "seven_scenes": ("TrainSplit.txt", "seq-01/frame-000001.pose.txt"),
    "twelve_scenes": ("split.txt", "info.txt", "data/frame-000001.pose.txt"),
    "cambridge": ("dataset_train.txt", "dataset_test.txt", "reconstruction.nvm"),
    "colmap": ("sparse/0/cameras.txt", "sparse/0/images.txt"),
    "transforms": ("transforms.json",),
    "tum": ("rgb.txt", "depth.txt", "groundtruth.txt"),
    "kitti": ("poses/04.txt", "sequences/04/calib.txt"),
    "csv": ("poses.csv",),
    "shards": ("shards.json", "frames.jsonl"),
}
CAMERA = Intrinsics(400.0, 410.0, 159.5, 119.5, 320, 240)


@pytest.mark.parametrize("name", FORMATS)
def test_poses_are_those_worked_out_by_hand(example, name, first_rotation, centers):
    root = example(name)
    frames = sorted(find_format(root).read(root), key=lambda frame: frame.pose.translation[0])
    assert len(frames) == 3
    for frame, center in zip(frames, centers, strict=True):
        assert frame.pose.rotation.dtype == frame.pose.translation.dtype == torch.float64
        np.testing.assert_allclose(frame.pose.rotation.numpy(), first_rotation, atol=1e-12)
        np.testing.assert_allclose(frame.pose.translation.numpy(), center, atol=1e-12)


@pytest.mark.parametrize("name", FORMATS)
def test_an_example_is_recognised_as_its_format_alone(example, name):
    root = example(name)
    assert [key for key, row in FORMATS.items() if row.recognise(root)] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_folder_is_no_dataset(tmp_path, name):
    assert not FORMATS[name].recognise(tmp_path)
    assert not FORMATS[name].recognise(tmp_path / "absent")
    with pytest.raises(DataError) as caught:
        FORMATS[name].read(tmp_path, CAMERA)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_names_are_unique_and_no_path_leaves_the_root(example, name):
    root = example(name)
    frames = FORMATS[name].read(root)
    assert len({frame.name for frame in frames}) == len(frames)
    for frame in frames:
        assert frame.sequence
        assert str(root) not in frame.name  # the same on every machine
        assert frame.image_path.is_relative_to(root)


@pytest.mark.parametrize("name", FORMATS)
def test_a_given_camera_replaces_the_datasets(example, name):
    root = example(name)
    for frame in FORMATS[name].read(root, CAMERA):
        size = (frame.intrinsics.width, frame.intrinsics.height)
        assert frame.intrinsics == CAMERA.resized(*size)
        assert frame.distortion is None


@pytest.mark.parametrize("name", FORMATS)
def test_the_root_may_be_a_symbolic_link(example, name, tmp_path):
    link = tmp_path / "freiburg3_link"
    link.symlink_to(example(name))
    assert find_format(link) is FORMATS[name]
    assert len(FORMATS[name].read(link)) == 3


@pytest.mark.parametrize("name", FORMATS)
def test_a_pickled_frame_carries_no_other_pose(example, name):
    frame = FORMATS[name].read(example(name))[0]
    assert frame.pose.rotation.untyped_storage().nbytes() == 9 * 8
    assert frame.pose.translation.untyped_storage().nbytes() == 3 * 8
    torch.testing.assert_close(pickle.loads(pickle.dumps(frame)).pose, frame.pose)


LISTS = [
    ("cambridge", "dataset_train.txt", "seq1/frame00001.png"),
    ("colmap", "sparse/0/images.txt", "a1.jpg"),
    ("transforms", "transforms.json", "./images/0.png"),
    ("tum", "rgb.txt", "rgb/100.000000.png"),
    ("tum", "depth.txt", "depth/100.000000.png"),
    ("csv", "poses.csv", "walk/1.jpg"),
    ("shards", "frames.jsonl", "seq-01/frame-000000.color.png"),
]
ESCAPES = [
    "../outside.png",
    "a/../../../etc/passwd",
    "..\\\\outside.png",
    "x" * 300 + ".png",
    "a/..",
]
ABSOLUTE = ["/etc/passwd", "C:/pictures/a.png", "\\\\\\\\server\\\\a.png"]


@pytest.mark.parametrize(
    ("name", "file", "listed", "escape"),
    # The lists of Cambridge hold strangers' absolute paths, which are read below the root.
    [(*row, path) for row in LISTS for path in ESCAPES + ABSOLUTE * (row[0] != "cambridge")],
)
def test_a_path_that_leaves_the_root_is_refused(example, name, file, listed, escape):
    root = example(name)
    path = root / file
    escape = escape if "json" in file else escape.replace("\\\\", "\\")
    path.write_text(path.read_text().replace(listed, escape))
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        FORMATS[name].read(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "file", "listed"), LISTS)
def test_backslashes_and_dots_are_understood(example, name, file, listed):
    root = example(name)
    expected = FORMATS[name].read(root)
    path = root / file
    windows = ".\\other\\..\\" + listed.replace("/", "\\")
    if "json" in file:
        windows = windows.replace("\\", "\\\\")
    path.write_text(path.read_text().replace(listed, windows))
    frames = FORMATS[name].read(root)
    assert [(f.name, f.image_path, f.depth_path) for f in frames] == [
        (f.name, f.image_path, f.depth_path) for f in expected
    ]


@pytest.mark.parametrize(
    ("name", "file", "listed", "other"),
    [
        ("cambridge", "dataset_test.txt", "seq2/frame00001.png", "seq1/frame00002.png"),
        ("colmap", "sparse/0/images.txt", "a1.jpg", "a2.jpg"),
        ("transforms", "transforms.json", "./images/0.png", "images/1.png"),
        ("tum", "rgb.txt", "rgb/100.000000.png", "rgb/100.100000.png"),
        ("csv", "poses.csv", "walk/1.jpg", "./walk//2.jpg"),
    ],
)
def test_an_image_that_is_listed_twice_is_refused(example, name, file, listed, other):
    root = example(name)
    path = root / file
    path.write_text(path.read_text().replace(listed, other))
    with pytest.raises(DataError, match="twice; remove one"):
        FORMATS[name].read(root)


TEXT = [(name, file) for name, files in FILES.items() for file in files if "nvm" not in file]


@pytest.mark.parametrize(("name", "file"), TEXT)
def test_windows_line_ends_a_byte_order_mark_and_spaces_do_no_harm(example, name, file):
    root = example(name)
    expected = FORMATS[name].read(root)
    path = root / file
    comment = b"" if path.suffix == ".json" or "cenes" in name else b"# a comment \r\n"
    blank = b"" if file.endswith("images.txt") else b" \r\n"  # there it belongs to an image
    content = path.read_bytes().replace(b"\n", b"  \r\n" + blank)
    path.write_bytes(b"\xef\xbb\xbf" + comment + content + b"\r\n\r\n")
    frames = FORMATS[name].read(root)
    assert [f.name for f in frames] == [f.name for f in expected]
    torch.testing.assert_close([f.pose for f in frames], [f.pose for f in expected])
    assert [f.intrinsics for f in frames] == [f.intrinsics for f in expected]


@pytest.mark.parametrize(("name", "file"), TEXT)
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00\x81", b"no such thing\n", b"{}"])
def test_a_file_of_something_else_is_named_in_one_line(example, name, file, content):
    root = example(name)
    path = root / file
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        FORMATS[name].read(root)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes, or a good file of which a piece was replaced."""
    words = st.sampled_from(
        [b"", b"nan", b"-1e309", b"1e200", b"..", b"\0", b"\xc3", b"\n", b" ", b"0", b"9" * 30]
    )
    place = st.integers(0, len(good))
    spliced = st.builds(
        lambda start, length, piece: good[:start] + piece + good[start + length :],
        place,
        st.integers(0, 30),
        words | st.binary(max_size=8),
    )
    return spliced | st.binary(max_size=200)


@pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name, files in FILES.items() for file in files]
)
def test_any_bytes_give_frames_or_one_line(write_example, tmp_path_factory, name, file):
    root = write_example(name, tmp_path_factory.mktemp("fuzz"))
    path = root / file
    if file.endswith("nvm"):
        text = "NVM_V3\n\n2\nseq1/frame00001.jpg 1670 1 0 0 0 0 0 0 0 0\n"
        path.write_text(text + "seq1/frame00002.jpg 1680 1 0 0 0 0 0 0 0 0\n0\n")

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(path.read_bytes()))
    def read(content: bytes) -> None:
        path.write_bytes(content)
        try:
            frames, message = FORMATS[name].read(root), ""
        except DataError as error:
            frames, message = [], str(error)
        assert "\n" not in message
        assert bool(frames) != bool(message)
        if message:
            return
        rotation = torch.stack([frame.pose.rotation for frame in frames])
        identity = torch.eye(3, dtype=torch.float64).expand_as(rotation)
        torch.testing.assert_close(rotation.mT @ rotation, identity, atol=1e-9, rtol=0)
        for frame in frames:
            assert frame.pose.translation.isfinite().all()
            assert min(frame.intrinsics.width, frame.intrinsics.height) > 0
            assert frame.image_path.is_relative_to(root)

    read()


REAL = {
    "7scenes/redkitchen": ("seven_scenes", 780),
    "cambridge/KingsCollege": ("cambridge", 1220 + 343),
    "cambridge/ShopFacade": ("cambridge", 231 + 103),
    "colmap/bonsai": ("colmap", 292),
    "nerf/fox": ("transforms", 67),
}


@pytest.mark.parametrize("folder", REAL)
def test_real_datasets_are_recognised_and_read(real_data, folder):
    root = real_data(folder)
    name, count = REAL[folder]
    assert [key for key, row in FORMATS.items() if row.recognise(root)] == [name]
    assert len(FORMATS[name].read(root)) == count


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("name", FORMATS)
def test_photos_are_read_as_they_are_stored(example, name, orientation):
    """A tag of EXIF changes neither camera nor pixels: the poses are those of stored pixels."""
    root = example(name)
    sizes = {f.image_path: f.intrinsics for f in FORMATS[name].read(root)}

    def write_photos(tag):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = tag
        for path, camera in sizes.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(0).integers(0, 255, (camera.height, camera.width, 3))
            Image.fromarray(noise.astype(np.uint8)).save(path, exif=exif)
        frames = FORMATS[name].read(root)
        return frames, [read_posed_image(frame)[0] for frame in frames]

    before, pixels = write_photos(1)
    after, tagged = write_photos(orientation)
    assert [f.intrinsics for f in after] == [f.intrinsics for f in before]
    for one, other in zip(tagged, pixels, strict=True):
        np.testing.assert_array_equal(one, other)
