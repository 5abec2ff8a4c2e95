"""Rotations, poses and cameras: plain functions on tensors of any batch shape."""

from posenet.geometry.averaging import geodesic_mean, mean_rotation
from posenet.geometry.cameras import Distortion, Intrinsics, rotation_homography
from posenet.geometry.clustering import (
    Clusters,
    cluster_poses,
    group_means,
    rotation_grid,
    squared_pose_distance,
)
from posenet.geometry.geodesic import (
    chordal_distance,
    geodesic_distance,
    quaternion_distance,
    quaternion_geodesic_distance,
)
from posenet.geometry.poses import (
    Pose,
    pose_from_matrix,
    stack_poses,
    top_down_axes,
    translation_distance,
)
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
    "Clusters",
    "Distortion",
    "Intrinsics",
    "Pose",
    "canonical_quaternion",
    "chordal_distance",
    "cluster_poses",
    "geodesic_distance",
    "geodesic_mean",
    "group_means",
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
    "rotation_grid",
    "rotation_homography",
    "rotation_to_6d",
    "rotation_to_9d",
    "rotation_to_quaternion",
    "rotation_to_rotvec",
    "squared_pose_distance",
    "stack_poses",
    "top_down_axes",
    "translation_distance",
]
