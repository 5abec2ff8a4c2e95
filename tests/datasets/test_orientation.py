"""Poses belong to pixels: what an image's EXIF orientation does to them is decided once."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import ExifTags, Image

from posenet.config import DataConfig
from posenet.datasets.cache import cache_images
from posenet.datasets.images import read_image, read_posed_image
from posenet.datasets.scene import load_scene, read_frames
from posenet.errors import DataError
from posenet.geometry import Intrinsics
from posenet.inspection import inspect_dataset
from posenet.inspection.images import read_grey, read_thumbnail

STORED = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
LEVEL = Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)
UPRIGHT = Intrinsics(60.0, 60.0, 23.5, 31.5, 48, 64)
SQUARE = Intrinsics(60.0, 60.0, 23.5, 23.5, 48, 48)
# What a viewer does with each orientation, by rows and columns. Source: EXIF 2.32, 4.6.4.
SHOWN = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: np.rot90(image, 1),
}
HALF_TURNED = (2, 3, 4)  # the sides keep their places
POSE = "0.5,-0.5,0.5,-0.5,{x},2,3"


def write_photo(path, orientation, pixels=STORED):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def write_dataset(root, photos):
    """``poses.csv`` and its images of (orientation, camera), a sequence each."""
    lines = [
        "image,sequence,qw,qx,qy,qz,center_x_m,center_y_m,center_z_m,"
        "focal_x,focal_y,principal_x,principal_y,width,height"
    ]
    for number, (orientation, c) in enumerate(photos):
        write_photo(root / f"walk{number}/a.png", orientation)
        camera = f"{c.focal_x},{c.focal_y},{c.center_x},{c.center_y},{c.width},{c.height}"
        lines.append(f"walk{number}/a.png,{number},{POSE.format(x=number)},{camera}")
    (root / "poses.csv").write_text("\n".join(lines))
    return DataConfig(root=str(root), cache=str(root / "cache"), validation="none", width=64)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_a_photo_is_read_turned_or_as_it_is_stored(tmp_path, orientation, suffix):
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(STORED).save(path, exif=exif, **({"lossless": True} if "w" in suffix else {}))
    np.testing.assert_array_equal(read_image(path, turned=False), STORED)
    np.testing.assert_array_equal(read_image(path), SHOWN[orientation](STORED))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("camera", [LEVEL, UPRIGHT], ids=["level camera", "upright camera"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_the_proportions_of_the_camera_tell_the_way_up(tmp_path, orientation, camera, suffix):
    """Stored pixels, unless only the turned ones fit; inspect, cache and pictures agree."""
    config = write_dataset(tmp_path, [(orientation, camera)])
    photo = write_photo(tmp_path / f"walk0/a{suffix}", orientation)
    table = tmp_path / "poses.csv"
    table.write_text(table.read_text().replace("a.png", photo.name))
    fits = camera == LEVEL or orientation > 4
    if not fits:
        with pytest.raises(DataError, match=r"expected an image with the proportions of the 48x64"):
            read_frames(config)
        return
    expected = STORED if camera == LEVEL else SHOWN[orientation](STORED)
    frame = read_frames(config)[0]
    assert (frame.intrinsics.width, frame.intrinsics.height) == (camera.width, camera.height)
    pixels, how = read_posed_image(frame)
    np.testing.assert_array_equal(pixels, expected)
    # Half a turn fits either way: read as stored.
    either = "undecided" if orientation in HALF_TURNED else "stored"
    told = "upright" if orientation == 1 else either if camera == LEVEL else "turned"
    assert how == told
    cached = cache_images([frame], camera.width, camera.height, tmp_path / "c", camera=camera)
    np.testing.assert_array_equal(cached.color[0], expected)
    assert dict(cached.readings) == ({} if told == "upright" else {0: told})
    grey = np.array(Image.fromarray(expected).convert("L"))
    np.testing.assert_array_equal(read_grey(frame, 1000)[0], grey)
    facts = read_thumbnail(photo, frame.intrinsics)
    assert (facts.width, facts.height, facts.reading) == (camera.width, camera.height, told)


def test_an_orientation_that_no_standard_knows_is_none(tmp_path):
    write_dataset(tmp_path, [(0, LEVEL), (9, LEVEL)])
    for frame in read_frames(DataConfig(root=str(tmp_path))):
        pixels, how = read_posed_image(frame)
        assert how == "upright"
        np.testing.assert_array_equal(pixels, STORED)


def test_a_square_image_is_read_as_stored(tmp_path):
    square = STORED[:, :48]
    config = write_dataset(tmp_path, [(6, SQUARE)])
    write_photo(tmp_path / "walk0/a.png", 6, square)
    pixels, how = read_posed_image(read_frames(config)[0])
    np.testing.assert_array_equal(pixels, square)
    assert how == "undecided"


def test_a_camera_the_other_way_up_rebuilds_the_cache(tmp_path):
    """The file is the same, and so is the plain resize."""
    level = read_frames(write_dataset(tmp_path, [(6, LEVEL)]))[0]
    upright = replace(level, intrinsics=UPRIGHT)
    stored = cache_images([level], 40, 40, tmp_path / "c").color[0]
    turned = cache_images([upright], 40, 40, tmp_path / "c").color[0]
    np.testing.assert_allclose(turned.astype(int), np.rot90(stored, -1), atol=1)


@pytest.mark.parametrize(
    ("photos", "turns", "said"),
    [
        ([(1, LEVEL)] * 3, True, None),
        ([(6, LEVEL), (1, LEVEL), (8, LEVEL)], False, "2 of 3 images have an EXIF orientation"),
        ([(3, LEVEL), (1, LEVEL), (1, LEVEL)], False, "1 of 3 images have an EXIF orientation"),
        ([(6, UPRIGHT), (8, UPRIGHT), (1, LEVEL)], True, None),
    ],
)
def test_new_photos_are_read_as_the_training_images_were(tmp_path, capsys, photos, turns, said):
    config = write_dataset(tmp_path, [*photos, (1, LEVEL)])
    config = replace(config, split=f"sequences:{len(photos)}")
    assert load_scene(config).turns_photos is turns
    error = capsys.readouterr().err
    assert ("have an EXIF orientation" in error) == (said is not None)
    assert (said or "").replace("of 3", "of 4") in error
    assert ("; so will new photos be" in error) == (not turns)


def test_orientations_of_test_images_do_not_decide(tmp_path, capsys):
    config = write_dataset(tmp_path, [(1, LEVEL), (1, LEVEL), (6, LEVEL)])
    assert load_scene(replace(config, split="sequences:2")).turns_photos
    assert capsys.readouterr().err.endswith("read as they are stored, as their poses are\n")


def test_half_a_turn_among_turned_images_is_refused(tmp_path):
    """Poses of turned images: nobody knows whether the upside-down ones were turned too."""
    config = write_dataset(tmp_path, [(6, UPRIGHT), (1, LEVEL), (3, LEVEL)])
    config = replace(config, split="sequences:1")
    with pytest.raises(DataError, match=r"walk2.a.png: expected a camera .*walk0.a.png fits only"):
        load_scene(config)
    finding = next(f for f in inspect_dataset(config).findings if f.code == "exif_orientation")
    assert finding.severity == "error"
    assert finding.frames == ("walk2/a.png",)
    assert "mogrify -auto-orient" in finding.cure


def test_inspect_notes_orientations_that_are_not_applied(tmp_path):
    config = write_dataset(tmp_path, [(6, LEVEL), (1, LEVEL), (8, LEVEL)])
    config = replace(config, split="sequences:1")
    finding = next(f for f in inspect_dataset(config).findings if f.code == "exif_orientation")
    assert finding.severity == "note"
    assert finding.frames == ("walk0/a.png", "walk2/a.png")
    assert "read as they are stored" in finding.message
    config = write_dataset(tmp_path / "upright", [(6, UPRIGHT), (8, UPRIGHT)])
    found = inspect_dataset(replace(config, split="sequences:1")).findings
    assert not [f for f in found if f.code in ("exif_orientation", "image_size")]
