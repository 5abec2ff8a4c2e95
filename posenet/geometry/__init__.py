"""Rotations, poses and cameras: plain functions on tensors of any batch shape."""

from posenet.geometry.averaging import mean_rotation
from posenet.geometry.cameras import Intrinsics, rotation_homography
from posenet.geometry.geodesic import (
    chordal_distance,
    geodesic_distance,
    quaternion_distance,
    quaternion_geodesic_distance,
)
from posenet.geometry.poses import Pose, pose_from_matrix, stack_poses, translation_distance
from posenet.geometry.rotations import (
    REPRESENTATIONS,
    canonical_quaternion,
    normalise_quaternion,
    project_to_rotation,
    rotation_from_6d,
    rotation_from_9d,
    rotation_from_quaternion,
    rotation_from_rotvec,
    rotation_to_6d,
    rotation_to_9d,
    rotation_to_quaternion,
    rotation_to_rotvec,
)

__all__ = [
    "REPRESENTATIONS",
    "Intrinsics",
    "Pose",
    "canonical_quaternion",
    "chordal_distance",
    "geodesic_distance",
    "mean_rotation",
    "normalise_quaternion",
    "pose_from_matrix",
    "project_to_rotation",
    "quaternion_distance",
    "quaternion_geodesic_distance",
    "rotation_from_6d",
    "rotation_from_9d",
    "rotation_from_quaternion",
    "rotation_from_rotvec",
    "rotation_homography",
    "rotation_to_6d",
    "rotation_to_9d",
    "rotation_to_quaternion",
    "rotation_to_rotvec",
    "stack_poses",
    "translation_distance",
]
