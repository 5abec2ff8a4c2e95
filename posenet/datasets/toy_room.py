"""A toy room: a small furnished room, rendered with exact poses and depth, in the 7-Scenes layout.

It lets a newcomer train a camera pose network without downloading a dataset. The world frame is
that of :mod:`posenet.datasets.toy_furniture`. Poses are camera-to-world with OpenCV axes (x right,
y down, z forward), and the centre of the top-left pixel is (0, 0).

Every surface is a textured parallelogram ``origin + s right + t down`` with s, t in [0, 1]. Along
an image, s/z, t/z and 1/z are linear in the pixel, so one 3x3 matrix per parallelogram rasterises
it, and 1/z decides which one is seen. Light is baked into the textures once per room.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from posenet.datasets.formats.seven_scenes import COLOR_CAMERA
from posenet.datasets.toy_furniture import (
    AMBIENT,
    FURNITURE,
    GLOWING,
    LIGHTS,
    ROOM,
    ROOM_CENTER,
    Array,
    Box,
    Face,
    visible_faces,
)
from posenet.datasets.toy_textures import TEXELS_PER_METRE, TEXTURES
from posenet.errors import DataError
from posenet.geometry.cameras import Intrinsics

LIGHT_SPACING = 0.12  # Metres between the points where light is computed.
OPENNESS_RAYS, OPENNESS_REACH = 12, 0.7  # Ambient light is held off by things nearer than this.

SUPERSAMPLING = 2
MIP_LEVELS = 6
ATLAS_WIDTH = 4096
NEAR = 0.05  # Metres in front of the camera where faces are cut off.


def _blocked(points: Array, steps: Array, boxes: list[Box]) -> NDArray[np.bool_]:
    """Whether a box cuts the segment from each of points (N, 3) to points + steps (N, 3)."""
    blocked = np.zeros(len(points), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        for box in boxes:
            axes, half = np.float32(box.axes), np.float32(box.size / 2)[:, None]
            start, step = axes @ (points - np.float32(box.center)).T, axes @ steps.T
            inward, through = -start / step, half / np.abs(step)
            enter, leave = (inward - through).max(axis=0), (inward + through).min(axis=0)
            blocked |= (enter < leave) & (leave > 0) & (enter < 1)
    return blocked


def _bake_light(faces: list[Face]) -> list[NDArray[np.float32]]:
    """Light that arrives on each face, as a coarse (rows, columns, 3) image, about 1 is bright."""
    points, normals, shapes = [], [], []
    for face in faces:
        normal = np.cross(face.down, face.right)
        normal /= np.linalg.norm(normal)
        columns, rows = (
            max(2, int(np.ceil(np.linalg.norm(edge) / LIGHT_SPACING))) for edge in face[1:3]
        )
        s, t = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
        grid = face.origin + s[..., None] * face.right + t[..., None] * face.down + 0.01 * normal
        points.append(grid.reshape(-1, 3))
        normals.append(np.broadcast_to(normal, (rows * columns, 3)))
        shapes.append((rows, columns, 3))
    point, normal = np.float32(np.concatenate(points)), np.float32(np.concatenate(normals))
    boxes = [box for box in FURNITURE if min(box.size) >= 0.05 and box.front not in GLOWING]

    covered, total = np.zeros(len(point), np.float32), np.zeros(len(point), np.float32)
    for direction in _sphere(OPENNESS_RAYS):
        cosine = normal @ direction
        steps = np.sign(cosine)[:, None] * direction * OPENNESS_REACH
        beyond = (np.abs(point + steps - ROOM_CENTER) > ROOM / 2).any(axis=1)
        covered += np.abs(cosine) * (beyond | _blocked(point, steps, boxes))
        total += np.abs(cosine)
    light = np.float32(AMBIENT) * (1 - 0.85 * covered / total)[:, None]
    for lamp in LIGHTS:
        for position in lamp.points:
            steps = np.float32(position) - point
            square = (steps**2).sum(axis=1)
            cosine = np.clip((normal * steps).sum(axis=1) / np.sqrt(square), 0, None)
            cosine *= ~_blocked(point, steps, boxes)
            strength = cosine / (square + 0.3) / len(lamp.points)
            light += strength[:, None] * np.float32(lamp.color)
    ends = np.cumsum([rows * columns for rows, columns, _ in shapes])
    return [p.reshape(shape) for p, shape in zip(np.split(light, ends[:-1]), shapes, strict=True)]


def _sphere(count: int) -> NDArray[np.float32]:
    """Evenly spread unit vectors, (count, 3), on a Fibonacci spiral."""
    z = (2 * np.arange(count) + 1) / count - 1
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - z**2)
    return np.float32(np.stack((radius * np.cos(turn), radius * np.sin(turn), z), axis=1))


def _paint(faces: list[Face], seed: int) -> list[NDArray[np.uint8]]:
    """Textures with the light baked in, (height, width, 3) RGB."""
    images = []
    for index, (face, light) in enumerate(zip(faces, _bake_light(faces), strict=True)):
        width, height = (
            max(6, round(np.linalg.norm(edge) * TEXELS_PER_METRE)) for edge in face[1:3]
        )
        albedo = TEXTURES[face.texture](np.random.default_rng((seed, index)), width, height) / 255
        if face.texture in GLOWING:
            albedo = 1.5 * albedo
        else:
            light = cv2.GaussianBlur(light, (3, 3), 0.7)
            albedo = albedo * cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)
        albedo = np.clip(albedo, 0, None)
        images.append(np.uint8(255 * albedo / (1 + albedo**4) ** 0.25))  # A soft shoulder at white.
    return images


def _pack(images: list[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Put every image at every mip level into one atlas, with a rim of one repeated texel.

    Returns:
        The atlas (height, ATLAS_WIDTH, 3), and left, top, width and height of the levels,
        (images, MIP_LEVELS, 4).
    """
    tiles = []
    for index, image in enumerate(images):
        for level in range(MIP_LEVELS):
            tiles.append((index, level, image))
            half = (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2))
            image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    tiles.sort(key=lambda tile: -tile[2].shape[0])
    table = np.zeros((len(images), MIP_LEVELS, 4), np.float32)
    left = top = tallest = 0
    for index, level, image in tiles:
        height, width = image.shape[:2]
        if left + width + 2 > ATLAS_WIDTH:
            left, top, tallest = 0, top + tallest, 0
        table[index, level] = (left + 1, top + 1, width, height)
        left, tallest = left + width + 2, max(tallest, height + 2)
    atlas = np.zeros((top + tallest, ATLAS_WIDTH, 3), np.uint8)
    for index, level, image in tiles:
        x, y, width, height = table[index, level].astype(int)
        rimmed = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        atlas[y - 1 : y + height + 1, x - 1 : x + width + 1] = rimmed
    return atlas, table


class ToyRoom:
    """A room that can be looked at from anywhere inside it.

    Args:
        seed: Chooses patterns and tints; the furniture stays where it is.
    """

    def __init__(self, seed: int = 0) -> None:
        faces = visible_faces()
        self._origins = np.stack([face.origin for face in faces])
        self._edges = np.stack([(face.right, face.down) for face in faces])
        self._atlas, self._levels = _pack(_paint(faces, seed))

    def render(
        self, rotation: Array, translation: Array, intrinsics: Intrinsics
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Render one view.

        Args:
            rotation: Camera-to-world rotation, (3, 3).
            translation: Camera centre in the world, (3,), metres, inside the room.
            intrinsics: The camera; its size is the size of the images.

        Returns:
            Colour, uint8 RGB (height, width, 3), and z-depth in metres, float32 (height, width).
        """
        width, height = intrinsics.width, intrinsics.height
        _, inverse_depth, _ = self._rasterise(rotation, translation, intrinsics)
        # Colour is sampled more finely than depth, which must be that of the pixel centre.
        fine = intrinsics.resized(SUPERSAMPLING * width, SUPERSAMPLING * height)
        color = self._shade(*self._rasterise(rotation, translation, fine))
        color = cv2.resize(color, (width, height), interpolation=cv2.INTER_AREA)
        return color, 1 / inverse_depth

    def _rasterise(
        self, rotation: Array, translation: Array, intrinsics: Intrinsics
    ) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32]]:
        """Find the face that each pixel sees.

        Returns:
            The index of the face, (height, width); 1/z there; and for all faces the matrix that
            takes homogeneous pixels to (s, t, 1) / z, (faces, 3, 3).
        """
        origins, edges = (self._origins - translation) @ rotation, self._edges @ rotation
        frames = np.concatenate((edges, origins[:, None]), axis=1).swapaxes(1, 2)
        facing = np.flatnonzero(np.linalg.det(frames) > 1e-6)
        matrices = np.zeros((len(frames), 3, 3), np.float32)
        matrices[facing] = np.linalg.inv(frames[facing]) @ np.linalg.inv(intrinsics.matrix)

        index = np.full((intrinsics.height, intrinsics.width), -1, np.int16)
        inverse_depth = np.zeros(index.shape, np.float32)
        u = np.arange(intrinsics.width, dtype=np.float32)
        v = np.arange(intrinsics.height, dtype=np.float32)[:, None]
        bounds = _bounds(frames[facing], intrinsics)
        for face, (left, top, right, bottom) in zip(facing, bounds, strict=True):
            if left >= right or top >= bottom:
                continue
            window = np.s_[top:bottom, left:right]
            by_u, by_v, constant = matrices[face].T[:, :, None, None]
            s, t, near = by_u * u[left:right] + (by_v * v[top:bottom] + constant)
            seen = near > inverse_depth[window]
            seen &= (s >= 0) & (s <= near) & (t >= 0) & (t <= near)
            np.copyto(inverse_depth[window], near, where=seen)
            np.copyto(index[window], face, where=seen)
        return index, inverse_depth, matrices

    def _shade(
        self,
        index: NDArray[np.int16],
        inverse_depth: NDArray[np.float32],
        matrices: NDArray[np.float32],
    ) -> NDArray[np.uint8]:
        """Look up the texture of each pixel in the mip level whose texels are pixel-sized."""
        height, width = index.shape
        u, v = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        s, t = (
            (
                matrices[:, row, 0][index] * u
                + matrices[:, row, 1][index] * v
                + matrices[:, row, 2][index]
            )
            / inverse_depth
            for row in (0, 1)
        )
        # The Jacobian of (s, t) in (u, v) has determinant det(matrix) * z^3.
        size = self._levels[:, 0, 2] * self._levels[:, 0, 3]
        texels = 0.5 * np.log2(np.abs(np.linalg.det(matrices)) * size + 1e-20)
        level = texels[index] - 1.5 * np.log2(inverse_depth)
        level = np.clip(np.rint(level), 0, MIP_LEVELS - 1).astype(np.intp)
        left, top, columns, rows = np.moveaxis(self._levels[index, level], -1, 0)
        x = left + np.clip(s, 0, 1) * columns - np.float32(0.5)
        y = top + np.clip(t, 0, 1) * rows - np.float32(0.5)
        return cv2.remap(self._atlas, x, y, cv2.INTER_LINEAR)


def _bounds(frames: Array, intrinsics: Intrinsics) -> NDArray[np.int64]:
    """Pixel boxes (left, top, right, bottom), ends exclusive, around the visible parts of faces.

    Args:
        frames: Columns right, down and origin of the faces in camera axes, (N, 3, 3).
        intrinsics: The camera.
    """
    right, down, origin = np.moveaxis(frames, 2, 0)
    corners = np.stack((origin, origin + right, origin + right + down, origin + down), axis=1)
    following = np.roll(corners, -1, axis=1)
    depth, next_depth = corners[..., 2], following[..., 2]
    crosses = (depth > NEAR) != (next_depth > NEAR)
    part = np.where(crosses, (NEAR - depth) / np.where(crosses, next_depth - depth, 1.0), 0.0)
    points = np.concatenate((corners, corners + part[..., None] * (following - corners)), axis=1)
    in_front = np.concatenate((depth > NEAR, crosses), axis=1)[..., None]
    pixels = intrinsics.project(np.where(in_front, points, 1.0))
    limit = np.array((intrinsics.width, intrinsics.height))
    low = np.where(in_front, pixels, np.inf).min(axis=1)
    high = np.where(in_front, pixels, -np.inf).max(axis=1)
    low, high = np.clip(np.ceil(low), 0, limit), np.clip(np.floor(high) + 1, 0, limit)
    return np.concatenate((low, high), axis=1).astype(np.int64)


def trajectory(seed: int, sequence: int, frames: int) -> tuple[Array, Array]:
    """A walk once around the room, looking across it, with a hand-held camera.

    All sequences follow the same tour, each with its own start, sense, and smooth departures from
    it, so that a test sequence runs between the training ones without repeating any.

    Args:
        seed: The seed of the room.
        sequence: Number of the sequence, from 1.
        frames: Number of frames, spread evenly over the walk.

    Returns:
        Camera-to-world rotations (frames, 3, 3) and camera centres (frames, 3) in metres.
    """
    rng = np.random.default_rng((seed, sequence))
    angle = rng.uniform(0, 2 * np.pi) + rng.choice((-1, 1)) * np.linspace(0, 2 * np.pi, frames)
    around = np.stack((np.cos(angle), np.sin(angle), np.zeros(frames)), axis=1)
    knots = np.linspace(0, 1, 10)
    # This interpolation does not overshoot: departures stay within +-1 of their amplitudes.
    wander = PchipInterpolator(knots, rng.uniform(-1, 1, (10, 7)))(np.linspace(0, 1, frames))
    centers = around * (1.15, 0.75, 0) + (0, 0, 1.45) + wander[:, :3] * (0.45, 0.4, 0.45)
    targets = around * (-2.0, -1.6, 0) + (0, 0, 1.0) + wander[:, 3:6] * (0.8, 0.7, 0.6)
    return _look_at(centers, targets, np.radians(8) * wander[:, 6]), centers


def _look_at(centers: Array, targets: Array, roll: Array) -> Array:
    """Camera-to-world rotations (N, 3, 3) of cameras that look at targets, rolled by radians."""
    forward = targets - centers
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll)[:, None], np.sin(roll)[:, None]
    return np.stack((cos * right + sin * down, cos * down - sin * right, forward), axis=2)


def write_toy_room(
    root: Path,
    *,
    seed: int = 0,
    train_sequences: int = 5,
    test_sequences: int = 2,
    frames_per_sequence: int = 100,
    width: int = 320,
    height: int = 240,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Write a toy room in the layout of 7-Scenes.

    Args:
        root: The folder to write; it must be missing or empty.
        seed: Chooses the patterns of the room and the walks through it.
        train_sequences: Number of sequences for training; they come first.
        test_sequences: Number of sequences for testing.
        frames_per_sequence: Frames in each sequence.
        width: Width of the images in pixels; the field of view follows 640 x 480.
        height: Height of the images in pixels.
        report: Called with the number of frames written so far and the number in all.

    Raises:
        DataError: The folder has files in it, or a file cannot be written.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(
            f"{root}: expected a new or empty folder for the toy room, found something in it; "
            "delete it or name another folder"
        )
    root.mkdir(parents=True, exist_ok=True)
    room, intrinsics = ToyRoom(seed), COLOR_CAMERA.resized(width, height)
    sequences = train_sequences + test_sequences
    for sequence in range(1, sequences + 1):
        folder = root / f"seq-{sequence:02d}"
        folder.mkdir()
        rotations, centers = trajectory(seed, sequence, frames_per_sequence)
        for number, (rotation, center) in enumerate(zip(rotations, centers, strict=True)):
            color, depth = room.render(rotation, center, intrinsics)
            stem = folder / f"frame-{number:06d}"
            # JPEG is a third of the size of PNG and ten times as fast to write.
            _write_image(f"{stem}.color.jpg", color[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, 95)
            millimetres = np.rint(depth * 1000).astype(np.uint16)
            _write_image(f"{stem}.depth.png", millimetres, cv2.IMWRITE_PNG_COMPRESSION, 1)
            pose = np.eye(4)
            pose[:3] = np.column_stack((rotation, center))
            np.savetxt(f"{stem}.pose.txt", pose)
            if report is not None:
                report(
                    (sequence - 1) * frames_per_sequence + number + 1,
                    sequences * frames_per_sequence,
                )
    # The split files come last, so that an interrupted folder cannot pass for a whole one.
    for name, first, end in (
        ("TestSplit.txt", train_sequences, sequences),
        ("TrainSplit.txt", 0, train_sequences),
    ):
        (root / name).write_text("".join(f"sequence{n + 1}\n" for n in range(first, end)))


def _write_image(path: str, image: NDArray[np.integer], *options: int) -> None:
    if not cv2.imwrite(path, image, options):
        raise DataError(f"{path}: cannot write the image; is the disk full?")
