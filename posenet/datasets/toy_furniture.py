"""What stands in the toy room: its size, furniture and lights, and the faces to draw of them.

World frame: metres, z up, the origin on the floor in the middle of the room, x towards the window
wall (east), y towards the striped wall (north).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROOM = np.array((5.6, 4.6, 2.6))
"""Size of the room along x, y and z, in metres."""

ROOM_CENTER = ROOM * (0, 0, 0.5)

CAMERA_ROOM = np.array(((-1.6, -1.15, 1.0), (1.6, 1.15, 1.9)))
"""Corners of the space that cameras stay in; no furniture reaches into it."""

NORTH, EAST, SOUTH, WEST = 270.0, 180.0, 90.0, 0.0  # Where an object on that wall faces, degrees.


class Box(NamedTuple):
    """A cuboid that stands or hangs in the room.

    Attributes:
        x: East position of the middle of the lower back edge, metres.
        y: North position of the same point.
        z: Height of the same point.
        facing: Direction that the front faces, degrees anticlockwise from east.
        width: Extent along the front, metres.
        depth: Extent from the back to the front.
        height: Extent upwards.
        front: Texture of the front.
        side: Texture of the other faces.
    """

    x: float
    y: float
    z: float
    facing: float
    width: float
    depth: float
    height: float
    front: str
    side: str

    @property
    def axes(self) -> Array:
        """Unit vectors right, front, up as rows, (3, 3); right as seen by who faces the front."""
        cos, sin = np.cos(np.radians(self.facing)), np.sin(np.radians(self.facing))
        return np.array(((-sin, cos, 0.0), (cos, sin, 0.0), (0.0, 0.0, 1.0)))

    @property
    def size(self) -> Array:
        """Width, depth and height in metres, (3,)."""
        return np.array((self.width, self.depth, self.height))

    @property
    def center(self) -> Array:
        """The middle of the box in the world, (3,)."""
        return (self.x, self.y, self.z) + (0, self.depth / 2, self.height / 2) @ self.axes


FURNITURE = (
    # North wall: bookshelf, television, lamp.
    Box(-1.70, 2.30, 0.00, NORTH, 1.50, 0.02, 2.05, "walnut", "walnut"),
    Box(-2.43, 2.28, 0.00, NORTH, 0.04, 0.30, 2.05, "walnut", "walnut"),
    Box(-0.97, 2.28, 0.00, NORTH, 0.04, 0.30, 2.05, "walnut", "walnut"),
    *(
        Box(-1.70, 2.28, height, NORTH, 1.42, 0.30, 0.03, "walnut", "walnut")
        for height in (0.06, 0.46, 0.86, 1.26, 1.66, 2.02)
    ),
    *(
        Box(-1.70, 2.28, base + 0.03, NORTH, 1.42, depth, 0.30, "books", "black")
        for base, depth in ((0.06, 0.24), (0.46, 0.21), (0.86, 0.25), (1.26, 0.22), (1.66, 0.23))
    ),
    Box(0.40, 2.30, 0.00, NORTH, 1.70, 0.42, 0.52, "drawers", "walnut"),
    Box(0.40, 2.16, 0.56, NORTH, 1.20, 0.06, 0.68, "screen", "black"),
    Box(0.40, 2.14, 0.52, NORTH, 0.30, 0.10, 0.04, "black", "black"),
    Box(0.40, 2.30, 1.50, NORTH, 1.10, 0.03, 0.70, "landscape", "walnut"),
    Box(1.55, 2.30, 1.60, NORTH, 0.42, 0.04, 0.42, "clock", "black"),
    Box(1.72, 2.25, 0.00, NORTH - 12, 0.52, 0.46, 0.40, "carton", "carton"),
    Box(1.70, 2.22, 0.40, NORTH + 9, 0.40, 0.36, 0.30, "carton", "carton"),
    Box(2.42, 2.02, 0.00, NORTH, 0.30, 0.30, 0.03, "brass", "brass"),
    Box(2.42, 1.89, 0.03, NORTH, 0.04, 0.04, 1.42, "brass", "brass"),
    Box(2.42, 2.07, 1.42, NORTH, 0.40, 0.40, 0.34, "shade", "shade"),
    # East wall: window, curtains, radiator, armchair, plant.
    Box(2.80, 0.10, 0.85, EAST, 2.00, 0.05, 1.42, "window", "white"),
    Box(2.80, 0.10, 0.80, EAST, 2.10, 0.20, 0.04, "white", "white"),
    Box(2.77, 1.28, 0.10, EAST, 0.42, 0.09, 2.28, "curtain", "curtain"),
    Box(2.77, -1.08, 0.10, EAST, 0.42, 0.09, 2.28, "curtain", "curtain"),
    Box(2.74, 0.10, 2.38, EAST, 3.00, 0.04, 0.04, "brass", "brass"),
    Box(2.78, 0.10, 0.14, EAST, 1.50, 0.10, 0.58, "radiator", "white"),
    Box(2.35, -1.15, 0.00, 150.0, 0.80, 0.75, 0.42, "armchair", "armchair"),
    Box(2.35, -1.15, 0.42, 150.0, 0.80, 0.18, 0.48, "armchair", "armchair"),
    Box(2.52, -2.14, 0.00, SOUTH, 0.34, 0.34, 0.36, "clay", "clay"),
    Box(2.40, -2.20, 0.36, 75.0, 0.56, 0.56, 0.55, "foliage", "foliage"),
    Box(2.47, -2.14, 0.91, 120.0, 0.36, 0.36, 0.50, "foliage", "foliage"),
    # South wall: sofa, pictures, side table with a lamp, wardrobe.
    Box(-0.45, -2.28, 0.00, SOUTH, 2.10, 0.92, 0.42, "sofa", "sofa"),
    Box(-0.45, -2.28, 0.42, SOUTH, 2.10, 0.26, 0.44, "sofa", "sofa side"),
    Box(-1.42, -2.02, 0.42, SOUTH, 0.18, 0.66, 0.20, "sofa side", "sofa side"),
    Box(0.52, -2.02, 0.42, SOUTH, 0.18, 0.66, 0.20, "sofa side", "sofa side"),
    Box(-1.05, -1.98, 0.42, 80.0, 0.42, 0.14, 0.36, "pillow yellow", "pillow yellow"),
    Box(0.15, -1.98, 0.42, 102.0, 0.42, 0.14, 0.36, "pillow blue", "pillow blue"),
    Box(-1.20, -2.30, 1.25, SOUTH, 0.56, 0.03, 0.72, "abstract", "black"),
    Box(-0.45, -2.30, 1.20, SOUTH, 0.66, 0.03, 0.86, "flowers", "brass"),
    Box(0.30, -2.30, 1.35, SOUTH, 0.60, 0.03, 0.45, "landscape", "walnut"),
    Box(1.15, -2.26, 0.00, SOUTH, 0.46, 0.46, 0.52, "drawers", "walnut"),
    Box(1.15, -2.07, 0.52, SOUTH, 0.08, 0.08, 0.22, "clay", "clay"),
    Box(1.15, -2.17, 0.74, SOUTH, 0.28, 0.28, 0.24, "shade", "shade"),
    Box(1.60, -2.30, 1.30, SOUTH, 0.50, 0.03, 0.70, "abstract", "brass"),
    Box(-2.22, -2.30, 0.00, SOUTH, 1.10, 0.58, 2.05, "wardrobe", "oak"),
    # West wall: door, sideboard with boxes, poster, map.
    Box(-2.80, 1.20, 0.00, WEST, 1.06, 0.03, 2.13, "white", "white"),
    Box(-2.80, 1.20, 0.00, WEST, 0.90, 0.05, 2.05, "door", "white"),
    Box(-2.80, -0.40, 0.00, WEST, 1.50, 0.42, 0.72, "sideboard", "white"),
    Box(-2.72, -0.85, 0.72, 12.0, 0.22, 0.22, 0.24, "clay", "clay"),
    Box(-2.70, -0.85, 0.96, 40.0, 0.30, 0.26, 0.28, "foliage", "foliage"),
    Box(-2.70, 0.10, 0.72, -8.0, 0.30, 0.20, 0.18, "pillow blue", "pillow blue"),
    Box(-2.80, 0.02, 1.10, WEST, 0.60, 0.02, 0.86, "poster", "white"),
    Box(-2.80, -0.92, 1.32, WEST, 0.90, 0.03, 0.64, "map", "walnut"),
    # The middle: rug, coffee table with books, ceiling lamp and beams.
    Box(0.00, 0.85, 0.00, NORTH, 2.70, 1.75, 0.012, "rug", "rug"),
    Box(-0.05, 0.28, 0.38, NORTH, 1.15, 0.62, 0.05, "oak", "oak"),
    *(
        Box(x, y, 0.00, NORTH, 0.06, 0.06, 0.38, "oak", "oak")
        for x in (-0.56, 0.46)
        for y in (0.24, -0.24)
    ),
    Box(-0.30, 0.10, 0.43, 250.0, 0.30, 0.21, 0.04, "pillow blue", "white"),
    Box(-0.29, 0.10, 0.47, 285.0, 0.26, 0.18, 0.03, "pillow yellow", "white"),
    Box(0.25, 0.08, 0.43, 300.0, 0.16, 0.16, 0.14, "clay", "clay"),
    Box(0.00, 0.22, 2.50, NORTH, 0.44, 0.44, 0.10, "shade", "shade"),
    Box(-1.40, 2.30, 2.46, NORTH, 0.15, 4.60, 0.14, "walnut", "walnut"),
    Box(1.40, 2.30, 2.46, NORTH, 0.15, 4.60, 0.14, "walnut", "walnut"),
    # Skirting boards.
    Box(0.00, 2.30, 0.00, NORTH, 5.60, 0.015, 0.09, "white", "white"),
    Box(2.80, 0.00, 0.00, EAST, 4.60, 0.015, 0.09, "white", "white"),
    Box(0.00, -2.30, 0.00, SOUTH, 5.60, 0.015, 0.09, "white", "white"),
    Box(-2.80, 0.00, 0.00, WEST, 4.60, 0.015, 0.09, "white", "white"),
)

GLOWING = {"window", "shade"}


class Light(NamedTuple):
    """Points that share the strength ``color`` (RGB) and shine all around."""

    points: tuple[tuple[float, float, float], ...]
    color: tuple[float, float, float]


LIGHTS = (
    Light(tuple((2.7, y, z) for y in (-0.7, 0.1, 0.9) for z in (1.2, 1.9)), (3.0, 3.1, 3.2)),
    Light(((0.0, 0.0, 2.4),), (1.3, 1.22, 1.08)),
    Light(((2.42, 1.87, 1.85), (2.42, 1.87, 1.35)), (0.32, 0.26, 0.17)),
    Light(((1.15, -2.03, 1.02), (1.15, -2.03, 0.7)), (0.16, 0.13, 0.08)),
)
AMBIENT = np.array((0.58, 0.58, 0.6))


class Face(NamedTuple):
    """A parallelogram that is seen from one side.

    Attributes:
        origin: The top left corner, (3,), metres.
        right: The edge to the top right corner, (3,).
        down: The edge to the bottom left corner, (3,).
        texture: Name in ``TEXTURES``.
    """

    origin: Array
    right: Array
    down: Array
    texture: str


def _face(middle: Array, normal: Array, right: Array, size: Array, texture: str) -> Face:
    """The rectangle of ``size`` = (width, height) around ``middle`` that faces along ``normal``."""
    edges = size[:, None] * (right, np.cross(right, normal))
    return Face(middle - edges.sum(axis=0) / 2, *edges, texture)


def _room_faces() -> list[Face]:
    """Floor, ceiling and walls; a little larger than the room, so that no gap shows at edges."""
    walls = {NORTH: "stripes", EAST: "blue plaster", SOUTH: "diamonds", WEST: "bricks"}
    up, east = np.array((0.0, 0.0, 1.0)), np.array((1.0, 0.0, 0.0))
    sides = [(up, east, "planks"), (-up, east, "ceiling")]
    for facing, texture in walls.items():
        right, front, _ = Box(0, 0, 0, facing, 0, 0, 0, "", "").axes
        sides.append((front, right, texture))
    faces = []
    for normal, right, texture in sides:
        size = np.abs((right, np.cross(right, normal))) @ (ROOM + 0.02)
        faces.append(_face(ROOM_CENTER - normal * ROOM / 2, normal, right, size, texture))
    return faces


def _box_faces(box: Box) -> list[Face]:
    """The faces of a box that can be seen: none against a wall, no underside below eye level."""
    right, front, up = box.axes
    top = box.front if box.height < 0.1 else box.side  # What lies flat shows its front upwards.
    faces = []
    for normal, across, texture in (
        (front, right, box.front),
        (-front, -right, box.side),
        (right, -front, box.side),
        (-right, front, box.side),
        (up, right, top),
        (-up, right, box.side),
    ):
        depth, *size = np.abs((normal, across, np.cross(across, normal)) @ box.axes.T) @ box.size
        middle = box.center + normal * depth / 2
        outside = np.abs(middle + 0.04 * normal - ROOM_CENTER) > ROOM / 2
        if not outside.any() and (normal[2] > -0.5 or box.z > 0.9):
            faces.append(_face(middle, normal, across, np.array(size), texture))
    return faces


def visible_faces() -> list[Face]:
    """All faces of the room and its furniture that a camera in ``CAMERA_ROOM`` can see."""
    return _room_faces() + [face for box in FURNITURE for face in _box_faces(box)]
