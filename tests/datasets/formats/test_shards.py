"""Shards of a dataset of each format: the table is walked."""

from dataclasses import replace

import pytest

from posenet.config import DataConfig
from posenet.datasets.formats import FORMATS, find_format
from posenet.datasets.sharding import write_shards


@pytest.mark.parametrize("name", FORMATS)
def test_any_format_can_be_sharded(name, write_example, make_image, tmp_path, assert_same_frames):
    root = write_example(name, tmp_path)
    row = find_format(root)
    for frame in row.read(root):
        if not frame.image.is_file():
            make_image(frame.image_path, frame.intrinsics.width, frame.intrinsics.height)
    expected = [
        frame
        if frame.depth is not None and frame.depth.is_file()
        else replace(frame, depth_path=None)
        for frame in row.read(root)
    ]
    write_shards(DataConfig(root=str(root)), tmp_path / "shards")
    shards = find_format(tmp_path / "shards")
    assert_same_frames(shards.read(tmp_path / "shards"), expected)
    assert shards.units_of(tmp_path / "shards") == row.units_of(root)
