"""Frames of videos and webcams: which, when, which way up, and what if it breaks off."""

import signal
import struct
import threading

import cv2
import numpy as np
import pytest

from posenet.errors import DataError
from posenet.inference.photos import Photo, Unreadable
from posenet.inference.video import Sampling, camera_index, measure_video, read_camera, read_video

from .conftest import Webcam, frame_of, write_film


def frames(path, sampling=Sampling()):  # noqa: B008  # it is immutable
    return list(read_video(path, sampling))


def test_frames_are_named_timed_and_in_rgb(film):
    found = frames(film)
    assert [photo.name for photo in found] == [f"{film}#{i:06d}" for i in range(10)]
    assert [photo.time_s for photo in found] == pytest.approx(np.arange(10) / 10)
    assert {photo.recording for photo in found} == {str(film)}
    for number, photo in enumerate(found):
        assert photo.pixels.shape == (48, 64, 3)
        error = np.abs(photo.pixels.astype(int) - frame_of(number))
        assert np.median(error) <= 8


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(stride=3), [0, 3, 6, 9]),
        (Sampling(stride=50), [0]),
        (Sampling(every_s=0.3), [0, 3, 6, 9]),
        (Sampling(every_s=0.25), [0, 3, 5, 8]),  # the first at or after each
        (Sampling(every_s=0.01), list(range(10))),
        (Sampling(every_s=60.0), [0]),
    ],
)
def test_only_the_wanted_frames_are_read_and_counted(film, sampling, expected):
    assert [int(photo.name[-6:]) for photo in frames(film, sampling)] == expected
    assert measure_video(film).sampled(sampling) == len(expected)


@pytest.mark.parametrize(
    ("rate", "every_s", "count"), [(30, 0.1, 100), (30, 0.2, 50), (25, 0.2, 60)]
)
def test_a_long_video_is_sampled_evenly(tmp_path, rate, every_s, count):
    """Times of frames are rounded, and sums of steps drift."""
    path = write_film(tmp_path / "long.mp4", 300, rate)
    times = np.array([photo.time_s for photo in frames(path, Sampling(every_s=every_s))])
    assert len(times) == count == measure_video(path).sampled(Sampling(every_s=every_s))
    assert np.diff(times).min() > 0.9 * every_s


def test_an_overlay_of_fewer_frames_plays_as_fast(film):
    length = measure_video(film)
    assert (length.frames, length.rate) == (10, 10.0)
    assert length.sampled_rate(Sampling(stride=2)) == pytest.approx(5.0)
    assert length.sampled_rate(Sampling(every_s=0.5)) == pytest.approx(2.0)
    assert length.sampled_rate(Sampling(every_s=0.01)) == pytest.approx(10.0)


def test_times_rise_whatever_a_video_says(film, monkeypatch):
    """Cut together from two, the second of which begins at 0 again and then stands still."""
    said = iter([0.0, 100.0, 200.0, 0.0, 100.0, 200.0, 0.0, 0.0, 0.0, 900.0])
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda path: Told(capture(path), said))
    times = [photo.time_s for photo in frames(film)]
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


class Told:
    """A video that says other times."""

    def __init__(self, capture, times):
        self.capture, self.times = capture, times

    def get(self, what):
        return next(self.times) if what == cv2.CAP_PROP_POS_MSEC else self.capture.get(what)

    def __getattr__(self, name):
        return getattr(self.capture, name)


def test_a_phones_rotation_is_heeded(film, tmp_path):
    """The matrix of the track header, as phones write it: a quarter turn clockwise."""
    content = bytearray(film.read_bytes())
    matrix = content.index(b"tkhd") + 44
    assert struct.unpack(">9i", content[matrix : matrix + 36])[0] == 1 << 16
    turn = (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    content[matrix : matrix + 36] = struct.pack(">9i", *turn)
    path = tmp_path / "phone.mp4"
    path.write_bytes(content)
    (photo,) = frames(path, Sampling(stride=50))
    expected = np.rot90(frames(film, Sampling(stride=50))[0].pixels, -1)
    np.testing.assert_array_equal(photo.pixels, expected)


def test_a_truncated_video_gives_what_can_be_read_and_says_so(tmp_path):
    path = write_film(tmp_path / "film.avi", count=25, width=320, height=240)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 5])
    *read, last = frames(path)
    assert 5 < len(read) < 20
    assert all(isinstance(photo, Photo) for photo in read)
    assert isinstance(last, Unreadable)
    assert last.error.startswith(f"{path}: expected a whole video, found that it ends after ")
    assert f"{len(read)} of 25 frames" in last.error


@pytest.mark.parametrize("content", [b"just words\n", b"", None])
def test_what_is_no_video_is_refused(content, tmp_path):
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    for use in (frames, measure_video):
        with pytest.raises(DataError, match=r"film.mp4: expected a video, found n"):
            use(path)


def test_webcams_have_numbers():
    assert (camera_index("camera:0"), camera_index("camera:12")) == (0, 12)
    assert [camera_index(name) for name in ("camera:", "camera:x", "0", "camera", "camera:-1")] == (
        [None] * 5
    )


@pytest.fixture
def webcam(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    monkeypatch.setattr("posenet.inference.video.time.monotonic", lambda: Webcam.now)
    return Webcam


def test_a_webcam_gives_frames_until_it_gives_no_more(webcam):
    *read, last = read_camera("camera:0", Sampling())
    assert [photo.name for photo in read] == [f"camera:0#{i:06d}" for i in range(5)]
    assert [photo.time_s for photo in read] == [1.0, 2.0, 3.0, 4.0, 5.0]
    np.testing.assert_array_equal(read[1].pixels, frame_of(2))
    assert last.error == "camera:0: gave no more images after 5"


@pytest.mark.parametrize(
    ("sampling", "expected"), [(Sampling(stride=2), "024"), (Sampling(every_s=2.0), "024")]
)
def test_a_webcams_frames_are_chosen_too(webcam, sampling, expected):
    *read, _ = read_camera("camera:0", sampling)
    assert "".join(photo.name[-1] for photo in read) == expected


def test_a_webcam_that_does_not_answer(webcam):
    with pytest.raises(DataError, match=r"camera:1: expected a webcam, found none that answers"):
        list(read_camera("camera:1", Sampling()))


def test_ctrl_c_ends_a_webcam_like_a_video(webcam):
    before = signal.getsignal(signal.SIGINT)
    read = []
    for photo in read_camera("camera:0", Sampling()):
        read.append(photo)
        if len(read) == 2:
            signal.raise_signal(signal.SIGINT)
    assert [photo.name[-1] for photo in read] == ["0", "1"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts(webcam):
    photos = read_camera("camera:0", Sampling())
    next(photos)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    photos.close()


def test_a_webcam_can_be_read_in_another_thread(webcam):
    found = []
    thread = threading.Thread(target=lambda: found.extend(read_camera("camera:0", Sampling())))
    thread.start()
    thread.join()
    assert len(found) == 6
