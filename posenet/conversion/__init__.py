"""Poses from any format to any other: one file a format, each with a reader and a writer."""

from posenet.conversion.convert import read_source, run_convert
from posenet.conversion.pose_files import POSE_FILES, read_pose_file
from posenet.conversion.trajectory import Trajectory
from posenet.conversion.writing import write_pose_file

__all__ = [
    "POSE_FILES",
    "Trajectory",
    "read_pose_file",
    "read_source",
    "run_convert",
    "write_pose_file",
]
