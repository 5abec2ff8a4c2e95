"""What paths mean."""

import pytest

from posenet.errors import DataError, UsageError
from posenet.inference.sources import (
    find_images,
    find_sources,
    read_sources,
    require_sampling,
)
from posenet.inference.video import Sampling

from .conftest import write_film


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder to be in."""
    for name in ("b/2.JPG", "b/1.png", "b/1.depth.png", "b/notes.txt", "b/c/3.jpg", "odd.dat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*paths):
    sources, errors = find_sources(paths)
    assert errors == []
    return [source.name for source in sources]


def test_images_are_found_in_folders_but_not_depth(tree):
    assert [path.name for path in find_images(tree / "b")] == ["1.png", "2.JPG", "3.jpg"]
    assert find_images(tree / "odd.dat") == [tree / "odd.dat"]
    with pytest.raises(DataError, match="empty: holds no image"):
        find_images(tree / "empty")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("b/*.png", ["b/1.png"]),
        ("b/*", ["b/1.png", "b/2.JPG"]),  # files that are images; the folder c is not asked for
        ("**/*.jpg", ["b/c/3.jpg"]),
        ("**", ["b/1.png", "b/2.JPG", "b/c/3.jpg"]),
        ("?", ["b/1.png", "b/2.JPG", "b/c/3.jpg"]),  # a folder
        ("b/[12].*", ["b/1.png", "b/2.JPG"]),
    ],
)
def test_patterns_are_expanded(tree, pattern, expected):
    assert names(pattern) == expected
    assert names(str(tree / pattern)) == [str(tree / name) for name in expected]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tree):
    (tree / "x[1].png").touch()
    assert names("x[1].png") == ["x[1].png"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("empty", "empty: holds no image"),
        ("b/*.tif", "b/*.tif: expected a pattern of images or videos, found nothing"),
        ("*.dat", "found 1 files of other kinds"),
        ("b/*.depth.png", "found 1 files of other kinds"),
        ("nowhere.mp4", "nowhere.mp4: expected a video, found nothing"),
        ("camera:x", "camera:x: expected the number of a webcam, such as camera:0"),
    ],
)
def test_a_path_of_no_use_does_not_stop_the_others(tree, path, message):
    sources, errors = find_sources([path, "b/1.png"])
    assert [source.name for source in sources] == ["b/1.png"]
    assert len(errors) == 1
    assert message in errors[0]


def test_videos_and_webcams_are_recordings_and_read_as_they_are_reached(tree):
    write_film(tree / "b" / "film.mp4", count=4)
    sources, errors = find_sources(["b/1.png", "b/*.mp4", "b/film.mp4", "camera:0"])
    assert errors == []
    assert [source.name for source in sources] == ["b/1.png", "b/film.mp4", "camera:0"]
    assert [source.is_recording for source in sources] == [False, True, True]
    assert [source.count(Sampling(stride=3)) for source in sources] == [1, 2, None]
    read = list(read_sources(sources[:2], Sampling(stride=3)))
    assert [str(getattr(entry, "name", entry)) for entry in read] == (
        ["1.png", "b/film.mp4#000000", "b/film.mp4#000003"]
    )


def test_a_video_that_is_gone_when_it_is_reached_is_told(tree):
    path = write_film(tree / "film.mp4", count=4)
    sources, _ = find_sources(["film.mp4", "b/1.png"])
    path.unlink()
    gone, image = read_sources(sources, Sampling())
    assert "film.mp4: expected a video, found nothing" in gone.error
    assert image.name == "1.png"


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(stride=0), "--stride: expected at least 1, found 0"),
        (Sampling(every_s=0.0), "--every: expected seconds, more than 0, found 0"),
        (Sampling(every_s=float("nan")), "--every: expected seconds"),
        (Sampling(stride=2), "found only images"),
    ],
)
def test_a_choice_of_no_frames_is_bad_usage(tree, sampling, message):
    with pytest.raises(UsageError, match=message):
        require_sampling(sampling, find_sources(["b/1.png"])[0])
