"""Procedural textures of the toy room: wood, bricks, wallpaper, pictures, books, a window.

A texture is a function ``(rng, width, height) -> image`` with the size in texels and the image as
float32 (height, width, 3), RGB in 0..255, without light. ``TEXTURES`` names them for the furniture.
"""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Color = tuple[float, float, float]
Texture = Callable[[np.random.Generator, int, int], Image]

TEXELS_PER_METRE = 200


def noise(rng: np.random.Generator, width: int, height: int, cell: tuple[float, float]) -> Image:
    """Smooth noise of unit spread, (height, width, 1), with bumps of ``cell`` = (x, y) texels."""
    columns, rows = (
        max(2, round(size / c) + 1) for size, c in zip((width, height), cell, strict=True)
    )
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]


def tinted(rng: np.random.Generator, color: Color, spread: float = 12.0) -> Color:
    """A colour near ``color``, so that another seed gives another room."""
    red, green, blue = (float(c) for c in np.clip(color + rng.normal(0.0, spread, 3), 5, 250))
    return red, green, blue


def letter(image: Image, text: str, place: tuple[int, int], scale: float, color: Color) -> None:
    """Write text into an image, from the lower left corner ``place`` on."""
    ink = np.zeros(image.shape[:2], np.uint8)  # OpenCV writes text into 8-bit images only.
    cv2.putText(ink, text, place, cv2.FONT_HERSHEY_DUPLEX, scale, 255, 2, cv2.LINE_AA)
    image += (ink[..., None] / np.float32(255)) * (np.float32(color) - image)


def plaster(rng: np.random.Generator, width: int, height: int, color: Color) -> Image:
    """A painted surface with faint stains and grain."""
    stains = 5 * noise(rng, width, height, (90, 90)) + 3 * noise(rng, width, height, (20, 20))
    grain = 2.5 * noise(rng, width, height, (2, 2))
    return np.float32(tinted(rng, color, 6)) + stains + grain


def wood(rng: np.random.Generator, width: int, height: int, color: Color) -> Image:
    """A board with the grain along its longer side."""
    along, across = (1.0, 1 / 28) if width >= height else (1 / 28, 1.0)
    fine = noise(rng, width, height, (100 * along, 100 * across))
    coarse = noise(rng, width, height, (400 * along, 400 * across))
    return np.float32(tinted(rng, color, 5)) * (1 + 0.07 * fine + 0.09 * coarse)


def courses(
    rng: np.random.Generator,
    width: int,
    height: int,
    size: tuple[int, int],
    colors: tuple[Color, Color],
    joint: tuple[int, Color],
    grain: tuple[float, float],
) -> Image:
    """Staggered rows of planks or bricks of ``size`` texels between two colours, with joints."""
    image = np.empty((height, width, 3), np.float32)
    for top in range(0, height, size[1]):
        left = -int(rng.integers(size[0]))
        while left < width:
            color = np.float32(colors[0]) + rng.random() * (np.float32(colors[1]) - colors[0])
            image[top : top + size[1], max(left, 0) : left + size[0]] = color
            left += size[0]
            cv2.line(image, (left, top), (left, top + size[1]), joint[1], joint[0])
        cv2.line(image, (0, top), (width, top), joint[1], joint[0])
    return image * (
        1 + 0.06 * noise(rng, width, height, grain) + 0.04 * noise(rng, width, height, (3, 3))
    )


def stripes(
    rng: np.random.Generator, width: int, height: int, colors: tuple[Color, Color]
) -> Image:
    """Striped wallpaper, each broad stripe with a thin dark one beside it."""
    image = plaster(rng, width, height, colors[0])
    for left in range(0, width, 44):
        image[:, left : left + 16] *= np.float32(colors[1]) / colors[0]
        image[:, left + 29 : left + 31] *= 0.8
    return image


def diamonds(
    rng: np.random.Generator, width: int, height: int, colors: tuple[Color, Color]
) -> Image:
    """Wallpaper with a lattice of diamonds and dots."""
    image = plaster(rng, width, height, colors[0])
    step = 56
    for row in range(-1, height // step + 2):
        for column in range(-1, width // step + 2):
            x, y = column * step + (row % 2) * step // 2, row * step
            shape = np.int32([[x, y - 24], [x + 13, y], [x, y + 24], [x - 13, y]])
            cv2.polylines(image, [shape], True, colors[1], 3, cv2.LINE_AA)
            cv2.circle(image, (x, y), 4, colors[1], -1, cv2.LINE_AA)
    return image


def fabric(
    rng: np.random.Generator, width: int, height: int, color: Color, cushions: float = 0.0
) -> Image:
    """Woven cloth; ``cushions`` is the distance of the seams in metres, 0 for none."""
    image = np.float32(tinted(rng, color)) * (
        1 + 0.06 * noise(rng, width, height, (30, 30)) + 0.08 * noise(rng, width, height, (2, 2))
    )
    if cushions:
        count = max(1, round(width / TEXELS_PER_METRE / cushions))
        seam = np.abs((np.arange(width) / width * count + 0.5) % 1 - 0.5) * width / count
        image *= np.clip(0.35 + seam / 14, 0, 1).astype(np.float32)[None, :, None]
    return image


def rug(rng: np.random.Generator, width: int, height: int) -> Image:
    """A carpet with borders, a row of medallions and fringes."""
    red, cream, blue = (
        tinted(rng, color) for color in ((150, 38, 40), (226, 205, 165), (38, 56, 105))
    )
    image = np.empty((height, width, 3), np.float32)
    for inset, color in ((0, cream), (10, red), (34, cream), (40, blue), (66, cream), (72, red)):
        image[inset : height - inset, inset : width - inset] = color
    for x in range(52, width - 40, 26):
        for y in (53, height - 53):
            cv2.circle(image, (x, y), 7, cream, -1, cv2.LINE_AA)
    for column in range(3):
        center = ((2 * column + 1) * (width - 160) // 6 + 80, height // 2)
        for radius, color in ((90, cream), (82, blue), (55, red), (30, cream), (16, blue)):
            scale = radius * height / 300
            points = cv2.ellipse2Poly(center, (int(scale * 0.8), int(scale)), 0, 0, 360, 45)
            cv2.fillPoly(image, [points], color, cv2.LINE_AA)
    return image * (1 + 0.09 * noise(rng, width, height, (2, 2)))


def books(rng: np.random.Generator, width: int, height: int) -> Image:
    """A row of book spines of many colours, sizes and title bars."""
    image = np.full((height, width, 3), 28, np.float32)
    left = 0
    while left < width - 4:
        thick = int(rng.integers(5, 14))
        top = int(height * rng.uniform(0.0, 0.3))
        hue = np.uint8([[[rng.integers(180), rng.integers(60, 210), rng.integers(70, 235)]]])
        spine = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)
        image[top:, left : left + thick] = spine
        image[top:, left : left + 1] *= 0.5
        bar = top + int((height - top) * rng.uniform(0.1, 0.6))
        image[bar : bar + int(rng.integers(4, 16)), left + 2 : left + thick - 1] = 255 - 0.6 * spine
        left += thick
        if rng.random() < 0.04:
            left += int(rng.integers(8, 25))
    return image


def landscape(rng: np.random.Generator, width: int, height: int) -> Image:
    """Sky, sun, hill ranges and a field with trees."""
    image = np.empty((height, width, 3), np.float32)
    sky = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    image[:] = (
        np.float32(tinted(rng, (88, 140, 205))) * (1 - sky) + np.float32((250, 222, 180)) * sky
    )
    sun = (int(width * rng.uniform(0.2, 0.8)), int(height * 0.28))
    cv2.circle(image, sun, height // 11, (255, 236, 170), -1, cv2.LINE_AA)
    x = np.arange(width)
    for level, color in ((0.45, (110, 130, 160)), (0.58, (75, 115, 95)), (0.74, (95, 135, 50))):
        crest = level + 0.05 * noise(rng, width, 1, (width / 5, 1)).ravel()
        outline = np.stack((x, crest * height), axis=-1)
        corners = [[width, height], [0, height]]
        cv2.fillPoly(
            image, [np.int32(np.vstack((outline, corners)))], tinted(rng, color), cv2.LINE_AA
        )
    for _ in range(5):
        center = (int(rng.uniform(0, width)), int(height * rng.uniform(0.7, 0.9)))
        cv2.circle(image, center, height // 14, tinted(rng, (35, 75, 35)), -1, cv2.LINE_AA)
    return image


def abstract(rng: np.random.Generator, width: int, height: int) -> Image:
    """Coloured rectangles behind black lines, with one disc."""
    image = np.full((height, width, 3), (236, 230, 214), np.float32)
    palette: tuple[Color, ...] = ((205, 45, 35), (30, 70, 160), (240, 195, 40), (20, 20, 20))
    for index in range(9):
        x, y = int(rng.uniform(0, 0.8) * width), int(rng.uniform(0, 0.8) * height)
        size = (int(rng.uniform(0.1, 0.4) * width), int(rng.uniform(0.1, 0.4) * height))
        cv2.rectangle(image, (x, y), (x + size[0], y + size[1]), palette[index % 4], -1)
        cv2.line(image, (x, 0), (x, height), (20, 20, 20), 2)
    center = (int(width * rng.uniform(0.3, 0.7)), int(height * rng.uniform(0.3, 0.7)))
    cv2.circle(image, center, width // 5, tinted(rng, (235, 120, 30), 25), -1, cv2.LINE_AA)
    return image


def flowers(rng: np.random.Generator, width: int, height: int) -> Image:
    """A vase of round flowers on a dark ground."""
    image = plaster(rng, width, height, (58, 48, 60))
    foot = (width // 2, int(height * 0.78))
    for _ in range(14):
        center = (int(width * rng.uniform(0.15, 0.85)), int(height * rng.uniform(0.12, 0.55)))
        cv2.line(image, foot, center, (60, 110, 50), 2, cv2.LINE_AA)
        petals = tinted(rng, ((230, 90, 120), (245, 210, 80), (235, 235, 240))[rng.integers(3)], 15)
        cv2.circle(image, center, width // 11, petals, -1, cv2.LINE_AA)
        cv2.circle(image, center, width // 30, (120, 60, 20), -1, cv2.LINE_AA)
    cv2.ellipse(image, foot, (width // 7, height // 6), 0, 0, 360, (70, 120, 170), -1, cv2.LINE_AA)
    return image


def city_map(rng: np.random.Generator, width: int, height: int) -> Image:
    """A map: land, a river, streets and two parks."""
    image = np.full((height, width, 3), tinted(rng, (232, 222, 196)), np.float32)
    for _ in range(2):
        corner = (int(rng.uniform(0.05, 0.7) * width), int(rng.uniform(0.05, 0.6) * height))
        far = (corner[0] + width // 5, corner[1] + height // 4)
        cv2.rectangle(image, corner, far, (150, 195, 130), -1)
    for _ in range(13):
        ends = (rng.random((2, 2)) * (width, height)).astype(int)
        ends[rng.integers(2)] += (rng.normal(0, width, 2)).astype(int)
        cv2.line(image, ends[0].tolist(), ends[1].tolist(), (190, 120, 70), 2, cv2.LINE_AA)
    river = height * (0.5 + 0.14 * noise(rng, width, 1, (width / 4, 1)).ravel())
    points = np.int32(np.stack((np.arange(width), river), axis=-1))
    cv2.polylines(image, [points], False, (90, 150, 205), max(4, height // 11), cv2.LINE_AA)
    return image


def poster(rng: np.random.Generator, width: int, height: int) -> Image:
    """A concert poster with lettering and concentric rings."""
    image = plaster(rng, width, height, (222, 84, 48))
    for ring in range(6, 0, -1):
        color = (245, 225, 180) if ring % 2 else tinted(rng, (30, 60, 90))
        cv2.circle(
            image, (width // 2, int(height * 0.6)), ring * width // 15, color, -1, cv2.LINE_AA
        )
    for text, y, scale in (("POSE", 0.2, 1.0), ("six degrees", 0.29, 0.42), ("live", 0.95, 0.6)):
        scale *= width / 110
        (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 2)
        place = ((width - length) // 2, int(height * y))
        letter(image, text, place, scale, (250, 240, 220))
    return image


def framed(
    rng: np.random.Generator, width: int, height: int, picture: Texture, color: Color
) -> Image:
    """A picture with a mat and a frame."""
    image = plaster(rng, width, height, color)
    image[8:-8, 8:-8] = (238, 234, 224)
    inner = picture(rng, width - 36, height - 36)
    image[18:-18, 18:-18] = inner
    return image


def window(rng: np.random.Generator, width: int, height: int) -> Image:
    """A bright view outdoors behind a white sash with two bars."""
    image = 0.35 * landscape(rng, width, height) + 0.65 * 255
    bar = 9
    for center in (bar, width // 2, width - bar):
        image[:, center - bar : center + bar] = (225, 226, 222)
        image[:, center - bar] = image[:, center + bar - 1] = (150, 152, 150)
    for center in (bar, height // 3, height - bar):
        image[center - bar : center + bar] = (225, 226, 222)
        image[center + bar - 1] = (150, 152, 150)
    return image


def folds(
    rng: np.random.Generator, width: int, height: int, color: Color, period: int = 16
) -> Image:
    """Vertical folds of a curtain, or the ribs of a radiator."""
    wave = np.sin(2 * np.pi * np.arange(width) / period)[None, :, None]
    ripple = 1 + 0.2 * wave + 0.04 * noise(rng, width, height, (period / 2, 200))
    return (np.float32(color) * ripple).astype(np.float32)


def panels(
    rng: np.random.Generator, width: int, height: int, color: Color, grid: tuple[int, int]
) -> Image:
    """A front of ``grid`` = (columns, rows) doors or drawers, each with a handle."""
    image = wood(rng, width, height, color)
    columns, rows = grid
    for left in np.linspace(0, width, columns + 1)[:-1].astype(int):
        for top in np.linspace(0, height, rows + 1)[:-1].astype(int):
            far = (left + width // columns, top + height // rows)
            cv2.rectangle(image, (left, top), far, tuple(0.35 * c for c in color), 3)
            cv2.rectangle(
                image,
                (left + 10, top + 10),
                (far[0] - 10, far[1] - 10),
                tuple(0.75 * c for c in color),
                2,
            )
            knob = (
                ((left + far[0]) // 2, top + 16) if rows > 1 else (far[0] - 14, (top + far[1]) // 2)
            )
            cv2.circle(image, knob, 5, (225, 200, 120), -1, cv2.LINE_AA)
    return image


def screen(rng: np.random.Generator, width: int, height: int) -> Image:
    """A television that shows a dusky landscape inside a black rim."""
    image = np.full((height, width, 3), 14, np.float32)
    image[5:-5, 5:-5] = 0.75 * landscape(rng, width - 10, height - 10)
    return image


def foliage(rng: np.random.Generator, width: int, height: int) -> Image:
    """Overlapping leaves, dark ones behind."""
    image = np.full((height, width, 3), (14, 30, 14), np.float32)
    for index in range(220):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        green = tinted(rng, (40, 105, 38), 14)
        color = tuple((0.4 + index / 250) * c for c in green)
        cv2.ellipse(image, center, (15, 5), rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
    return image


def clock(rng: np.random.Generator, width: int, height: int) -> Image:
    """A square clock with twelve marks and two hands."""
    image = np.full((height, width, 3), (40, 40, 44), np.float32)
    middle = np.array((width, height)) // 2
    cv2.circle(image, middle.tolist(), int(width * 0.45), (244, 242, 232), -1, cv2.LINE_AA)
    hour = rng.uniform(0, 12)
    hands = [(hour / 12, 0.0, 0.22, 3), (hour % 1, 0.0, 0.33, 2)]
    for turn, start, end, thick in hands + [(mark / 12, 0.37, 0.41, 2) for mark in range(12)]:
        tip = np.array((np.sin(2 * np.pi * turn), -np.cos(2 * np.pi * turn))) * width
        ends = [(middle + reach * tip).astype(int).tolist() for reach in (start, end)]
        cv2.line(image, ends[0], ends[1], (25, 25, 30), thick, cv2.LINE_AA)
    return image


def carton(rng: np.random.Generator, width: int, height: int) -> Image:
    """Cardboard with tape and a label."""
    image = plaster(rng, width, height, (176, 134, 88))
    image[:, int(width * 0.44) : int(width * 0.56)] = (205, 180, 140)
    cv2.rectangle(image, (12, height // 2), (width // 3 + 8, height - 12), (240, 238, 230), -1)
    letter(image, "7", (18, height - 18), 1.0, (20, 20, 20))
    return image


def shade(rng: np.random.Generator, width: int, height: int) -> Image:
    """A lampshade lit from inside, brightest in the middle."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    return np.float32((255, 226, 168)) * (1.0 - 0.22 * x**2 - 0.18 * y**2)


TEXTURES: dict[str, Texture] = {
    "planks": partial(
        courses,
        size=(260, 26),
        colors=((150, 104, 62), (190, 142, 92)),
        joint=(1, (70, 45, 25)),
        grain=(90, 4),
    ),
    "bricks": partial(
        courses,
        size=(48, 16),
        colors=((140, 62, 45), (190, 100, 72)),
        joint=(2, (196, 184, 170)),
        grain=(40, 40),
    ),
    "ceiling": partial(plaster, color=(236, 234, 226)),
    "blue plaster": partial(plaster, color=(150, 184, 206)),
    "white": partial(plaster, color=(232, 230, 224)),
    "black": partial(plaster, color=(30, 30, 34)),
    "brass": partial(plaster, color=(150, 120, 62)),
    "clay": partial(plaster, color=(178, 96, 66)),
    "stripes": partial(stripes, colors=((232, 208, 150), (206, 160, 92))),
    "diamonds": partial(diamonds, colors=((36, 92, 92), (196, 176, 112))),
    "oak": partial(wood, color=(176, 128, 78)),
    "walnut": partial(wood, color=(98, 62, 40)),
    "sofa": partial(fabric, color=(190, 72, 52), cushions=0.7),
    "sofa side": partial(fabric, color=(176, 64, 46)),
    "armchair": partial(fabric, color=(96, 120, 70)),
    "pillow yellow": partial(fabric, color=(226, 178, 50)),
    "pillow blue": partial(fabric, color=(50, 84, 140)),
    "rug": rug,
    "books": books,
    "landscape": partial(framed, picture=landscape, color=(110, 74, 36)),
    "abstract": partial(framed, picture=abstract, color=(24, 24, 24)),
    "flowers": partial(framed, picture=flowers, color=(190, 150, 60)),
    "map": partial(framed, picture=city_map, color=(66, 44, 30)),
    "poster": poster,
    "window": window,
    "curtain": partial(folds, color=(206, 120, 96)),
    "radiator": partial(folds, color=(222, 222, 218), period=12),
    "door": partial(panels, color=(66, 118, 92), grid=(1, 1)),
    "wardrobe": partial(panels, color=(206, 186, 150), grid=(2, 1)),
    "drawers": partial(panels, color=(120, 78, 48), grid=(3, 2)),
    "sideboard": partial(panels, color=(214, 206, 190), grid=(3, 1)),
    "screen": screen,
    "foliage": foliage,
    "clock": clock,
    "carton": carton,
    "shade": shade,
}
