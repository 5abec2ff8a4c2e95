"""New images reach the network as the training images did, whatever their size."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from posenet import Localizer
from posenet.cli import main
from posenet.config import Config
from posenet.datasets.images import read_image
from posenet.datasets.resampling import UNSEEN, resample_image
from posenet.errors import DataError, UsageError
from posenet.geometry import Distortion, Intrinsics
from posenet.inference.photos import Photo, Unreadable, read_photo
from posenet.models.checkpoint import Checkpoint

from .conftest import BINS, CAMERA, DATA, MODEL, localizer_for, picture


@pytest.mark.parametrize(
    ("camera", "width", "height", "padded"),
    [
        (CAMERA, 640, 480, False),
        (CAMERA, 1024, 768, False),
        (CAMERA, 641, 480, False),
        (CAMERA, 480, 640, True),
        (CAMERA, 1920, 1080, True),
        # 16:9 squeezed to the network's 4:3: the same proportions again are no reason to pad,
        # nor are pixels that are not quite square
        (Intrinsics(900, 880, 640, 360, 1280, 720), 1920, 1080, False),
        (Intrinsics(900, 880, 640, 360, 1280, 720), 640, 480, True),
    ],
)
def test_only_other_proportions_are_padded(network, camera, width, height, padded):
    localizer = localizer_for(network, camera)
    image = picture(width, height)
    assert localizer.camera_of(Photo("image", image)).source == (
        "guessed" if padded else "training"
    )
    fitted = localizer.fit(image)
    assert fitted.shape == (DATA.height, DATA.width, 3)
    border = (fitted == UNSEEN).all(axis=-1)
    assert (border.all(axis=0).any() or border.all(axis=1).any()) == padded


def test_padding_keeps_the_shape_of_things(network):
    image = np.zeros((640, 480, 3), np.uint8)
    cv2.circle(image, (240, 320), 200, (255, 255, 255), -1)
    white = localizer_for(network).fit(image)[..., 0] > 250
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1
    assert np.ptp(rows) == pytest.approx(400 * 48 / 480, abs=2)


def assert_same_network(found, expected):
    """Equal but for the rounding of float32, whose sums depend on the batch and on threads."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


def test_one_image_or_many_arrays_or_files_give_the_same_poses(network, tmp_path):
    localizer = localizer_for(network)
    arrays = [picture(640, 480, seed) for seed in range(3)]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, array in zip(paths, arrays, strict=True):
        cv2.imwrite(str(path), array[..., ::-1])
    expected = localizer.predict(arrays)
    assert expected.rotation.shape == (3, 3, 3)
    assert expected.rotation.dtype == torch.float64
    assert not torch.equal(expected.translation[0], expected.translation[1])
    for many in (paths, [str(path) for path in paths], np.stack(arrays)):
        assert_same_network(localizer.predict(many, batch_size=2), expected)
    for one in (arrays[1], paths[1], str(paths[1])):
        assert_same_network(localizer.predict(one).translation, expected.translation[1:2])
    assert localizer.predict([]).translation.shape == (0, 3)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_no_images_is_refused(network, batch_size):
    with pytest.raises(UsageError, match="batch_size: expected at least 1"):
        localizer_for(network).predict([picture(64, 48)], batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_an_unreadable_file_does_not_stop_the_rest(network, tmp_path, batch_size):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    cv2.imwrite(str(good), picture(64, 48))
    bad.write_text("no image")
    frame = Photo("film#1", picture(64, 48, seed=1), recording="film", time_s=0.5)
    images = [bad, good, bad, frame, good, Unreadable("film", "film: ends early")]
    localizer = localizer_for(network)
    results = list(localizer.localize_each(images, batch_size=batch_size))
    assert [result.pose is None for result in results] == [True, False, True, False, False, True]
    assert [str(bad) in (result.error or "") for result in results[:3]] == [True, False, True]
    assert results[5].error == "film: ends early"
    assert [result.name for result in results[:4]] == [*map(str, (bad, good, bad)), "film#1"]
    assert (results[3].recording, results[3].time_s) == ("film", 0.5)
    assert_same_network(results[1].pose, results[4].pose)
    for entry, expected in ((results[1], good), (results[3], frame.pixels)):
        assert_same_network(entry.pose.translation, localizer.predict(expected)[1][0])


def test_images_of_single_batches_are_given_back_before_the_next_is_asked_for(network):
    """A webcam's next image comes later."""
    asked = []

    def camera():
        for number in range(3):
            asked.append(number)
            yield Photo(str(number), picture(64, 48, number))

    for number, entry in enumerate(localizer_for(network).localize_each(camera(), batch_size=1)):
        assert (entry.name, asked[-1]) == (str(number), number)


# --- hypotheses --------------------------------------------------------------------------------


def at(hypotheses, index):
    pose = hypotheses.poses
    return hypotheses._replace(
        probability=hypotheses.probability[index],
        poses=pose._replace(rotation=pose.rotation[index], translation=pose.translation[index]),
    )


def test_hypotheses_are_the_most_probable_bins(with_bins):
    localizer, _ = with_bins
    image = picture(640, 480)
    found = at(localizer.localize(image, BINS).hypotheses, 0)
    assert found.probability.sum() == pytest.approx(1.0)
    assert (found.probability.diff() <= 0).all()
    with torch.inference_mode():
        tensor = torch.from_numpy(localizer.fit(image)).permute(2, 0, 1)[None] / 255.0
        prediction = localizer.network(tensor)
    order = prediction.logits[0].argsort(descending=True)
    assert_same_network(found.poses.rotation, prediction.candidates.rotation[0, order].double())
    assert_same_network(
        found.poses.translation, prediction.candidates.translation[0, order].double()
    )
    best = localizer.localize([image, picture(640, 480, 1)], 1)
    assert_same_network(best.hypotheses.probability[0], found.probability[:1])
    assert best.hypotheses.poses.rotation.shape == (2, 1, 3, 3)
    assert_same_network(best.pose.rotation[:1], localizer.predict(image).rotation)
    assert localizer.localize(image).hypotheses is None


def test_hypotheses_are_written_as_json(with_bins, tmp_path, capsys):
    localizer, checkpoint = with_bins
    Image.fromarray(picture(640, 480)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    Image.fromarray(picture(640, 480, seed=1)).save(tmp_path / "c.png")
    assert main(["predict", str(checkpoint), str(tmp_path), "--hypotheses", "3"]) == 1  # b.png
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["a.png", "c.png"]
    for line in lines:
        expected = at(localizer.localize(line["file"], 3).hypotheses, 0)
        written = line["hypotheses"]
        assert [entry["probability"] for entry in written] == pytest.approx(
            expected.probability.tolist(), rel=1e-4
        )
        for entry, center in zip(written, expected.poses.translation.tolist(), strict=True):
            assert entry["camera_center"] == pytest.approx(center, abs=1e-4)
            assert entry.keys() >= {"camera_to_world", "world_to_camera"}
    assert main(["predict", str(checkpoint), str(tmp_path / "a.png")]) == 0
    assert "hypotheses" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hypotheses", "5"], "hypotheses: expected 1 to 4, its viewpoint bins, found 5"),
        (["--hypotheses", "-1"], "hypotheses: expected 1 to 4, its viewpoint bins, found -1"),
        (["--hypotheses", "2", "--format", "csv"], "a line of csv holds one pose; use --format js"),
    ],
)
def test_hypotheses_that_make_no_sense_are_bad_usage(with_bins, tmp_path, capsys, words, message):
    assert main(["predict", str(with_bins[1]), str(tmp_path / "a.png"), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_network_without_bins_has_no_hypotheses(network):
    with pytest.raises(UsageError, match=r"predicts one pose; train one with --model.mode coarse"):
        localizer_for(network).localize(picture(640, 480), 1)


# --- which camera took an image ---------------------------------------------------------------


def write_photo(path, width, height, focal_35_mm=None):
    image = Image.fromarray(picture(width, height))
    exif = image.getexif()
    if focal_35_mm is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = focal_35_mm
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("turns", [True, False])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_is_turned_only_if_training_images_were(network, tmp_path, turns, orientation):
    """Of the same phone, with the same tag: read as its training images were read."""
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(picture(640, 480)).save(path, exif=exif)
    localizer = localizer_for(network)
    localizer = Localizer(localizer.checkpoint._replace(turns_photos=turns), "cpu")
    expected = localizer.predict(read_image(path, turned=turns)).rotation
    other = localizer.predict(read_image(path, turned=not turns)).rotation
    assert not torch.equal(expected, other)
    assert torch.equal(localizer.predict(path).rotation, expected)
    assert torch.equal(localizer.predict(Image.open(path)).rotation, expected)
    (result,) = localizer.localize_each([path])
    torch.testing.assert_close(result.pose.rotation, expected[0])
    assert result.camera.source == ("guessed" if turns and orientation != 3 else "training")


def camera_told(network, path, known=None):
    return localizer_for(network).camera_of(read_photo(path), known)


def test_a_given_camera_is_believed(network, tmp_path):
    path = write_photo(tmp_path / "a.jpg", 1280, 960, 26)
    found = camera_told(network, path, Intrinsics(500, 510, 320, 240, 640, 480))
    assert found.source == "given"
    assert found.intrinsics == Intrinsics(1000.0, 1020.0, 640.5, 480.5, 1280, 960)


def test_exif_is_believed_where_the_training_camera_cannot_have_taken_the_image(network, tmp_path):
    upright = camera_told(network, write_photo(tmp_path / "a.jpg", 480, 640, 28))
    assert upright.source == "exif"
    assert upright.intrinsics.focal_x == pytest.approx(28 / 43.2666 * 800)
    assert (upright.intrinsics.center_x, upright.intrinsics.center_y) == (239.5, 319.5)
    longer = 2.0 * CAMERA.focal_x / 800 * 43.2666
    found = camera_told(network, write_photo(tmp_path / "b.jpg", 640, 480, round(longer)))
    assert found.source == "exif"
    same = CAMERA.focal_x / 800 * 43.2666
    found = camera_told(network, write_photo(tmp_path / "c.jpg", 640, 480, round(same)))
    assert found.source == "training"  # calibrated, which EXIF is not


@pytest.mark.parametrize("focal", [None, 0])
def test_without_a_focal_length_the_training_camera_is_assumed(network, tmp_path, focal):
    path = write_photo(tmp_path / "a.jpg", 1024, 768, focal)
    assert camera_told(network, path) == (CAMERA.resized(1024, 768), "training")
    assert camera_told(network, write_photo(tmp_path / "b.jpg", 768, 1024)).source == "guessed"


def test_an_image_of_a_longer_lens_is_shown_at_the_training_cameras_scale(network):
    """A circle of 0.1 rad has the same size whichever camera took it."""
    localizer = localizer_for(network)
    widths = []
    for factor in (1.0, 2.0):
        focal = factor * CAMERA.focal_x
        image = np.zeros((480, 640, 3), np.uint8)
        cv2.circle(image, (320, 240), round(0.1 * focal), (255, 255, 255), -1)
        camera = Intrinsics(focal, focal, 319.5, 239.5, 640, 480)
        white = localizer.fit(image, camera)[..., 0] > 128
        white &= ~(localizer.fit(image, camera) == UNSEEN).all(axis=-1)
        widths.append(np.flatnonzero(white.any(axis=0)).size)
    assert abs(widths[0] - widths[1]) <= 1
    assert widths[0] > 5


def test_a_training_lens_is_taken_out_of_new_images_of_its_camera(network):
    lens = Distortion("radial_tangential", (-0.3, 0.1, 0.0, 0.0))
    config = Config(data=DATA, model=MODEL)
    checkpoint = Checkpoint(network, config, CAMERA, "room", 1, lens)
    localizer = Localizer(checkpoint, "cpu")
    image = picture(640, 480)
    expected = resample_image(image, CAMERA, lens, CAMERA.resized(DATA.width, DATA.height))
    np.testing.assert_array_equal(localizer.fit(image), expected)
    other = replace(CAMERA, focal_x=CAMERA.focal_x * 1.2)
    plain = resample_image(image, other, None, CAMERA.resized(DATA.width, DATA.height))
    np.testing.assert_array_equal(localizer.fit(image, other), plain)


def test_predictions_are_in_the_world_whatever_the_networks_origin(network):
    config = Config(data=DATA, model=MODEL)
    here = Localizer(Checkpoint(network, config, CAMERA, "room", 1), "cpu")
    origin = (4.5e6, 6.1e5, -3.0)
    there = Localizer(Checkpoint(network, config, CAMERA, "room", 1, origin=origin), "cpu")
    image = picture(640, 480)
    moved = there.predict(image).translation - here.predict(image).translation
    np.testing.assert_allclose(moved.numpy(), [origin], rtol=1e-15)


def test_a_given_camera_of_other_proportions_is_refused(network, tmp_path):
    paths = [write_photo(tmp_path / "a.jpg", 640, 480), write_photo(tmp_path / "b.jpg", 480, 640)]
    known = Intrinsics(500, 500, 319.5, 239.5, 640, 480)
    with pytest.raises(DataError, match=r"proportions of the camera.*640x480, found 480x640"):
        localizer_for(network).predict(paths, intrinsics=known)
    good, bad = localizer_for(network).localize_each(paths, intrinsics=known)
    assert good.camera.source == "given"
    assert bad.pose is None
    assert "b.jpg: expected the proportions" in bad.error


def test_the_training_camera_held_upright_keeps_its_focal_length(network, tmp_path):
    upright = camera_told(network, write_photo(tmp_path / "a.jpg", 480, 640))
    assert upright.source == "guessed"
    assert upright.intrinsics.focal_x == pytest.approx(CAMERA.focal_x)
