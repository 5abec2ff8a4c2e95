"""Pictures with a map beside them: where the camera stood in the scene, seen from above.

Drawn with OpenCV, as a video has thousands of frames and matplotlib takes a tenth of a second for
each. The map never moves: what does not change is drawn once.
"""

from collections import deque
from math import ceil, floor, log10
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posenet.geometry import Intrinsics, Pose
from posenet.inference.answers import Localized, is_elsewhere
from posenet.inference.photos import Pixels
from posenet.inference.scene_map import Array, SceneMap, View, view_of
from posenet.models.calibration import LEVEL

Color = tuple[int, int, int]

LEAST_HEIGHT, MOST_HEIGHT = 360, 720  # of a picture, pixels
_PANEL_SHARE = 0.8  # width of the panel, in heights of the picture
_TRAIL = 60  # positions

# RGB. The panel is dark whatever the picture is; bright colours of Okabe and Ito stand out on it.
_BACKGROUND, _MAP, _GRID = (24, 26, 30), (34, 37, 43), (48, 52, 60)
_TEXT, _DIM, _KNOWN = (235, 235, 235), (160, 165, 175), (120, 128, 142)
_HERE, _VIEW, _SURE = (240, 160, 20), (86, 180, 233), (204, 121, 167)
_AXES: dict[str, Color] = {"x": (235, 110, 90), "y": (90, 200, 120), "z": (100, 160, 250)}

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT = 4  # positions are drawn to a sixteenth of a pixel


def fit_picture(pixels: Pixels) -> Pixels:
    """A picture at a height at which its map can be read."""
    height, width = pixels.shape[:2]
    wanted = min(max(height, LEAST_HEIGHT), MOST_HEIGHT)
    size = (max(2, 2 * round(width * wanted / height / 2)), 2 * (wanted // 2))
    if size == (width, height):
        return pixels
    smaller = size[1] < height
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


class OverlayPainter:
    """Draws pictures with a map, one after the other.

    Args:
        scene: The map.
    """

    def __init__(self, scene: SceneMap) -> None:
        self.scene = scene
        self.trail: deque[tuple[str | None, Array]] = deque(maxlen=_TRAIL)
        self.backgrounds: dict[int, tuple[Pixels, _Panel]] = {}

    def paint(self, localized: Localized) -> Pixels:
        """A picture (RGB) and its map, side by side; ``localized`` has a picture and a pose."""
        picture, pose = fit_picture(localized.picture), localized.pose
        height = picture.shape[0]
        if height not in self.backgrounds:
            panel = _Panel(height, self.scene)
            self.backgrounds[height] = (_draw_background(panel), panel)
        background, panel = self.backgrounds[height]
        canvas = background.copy()
        place = self.scene.place(pose.translation.numpy())
        if self.trail and self.trail[-1][0] != localized.recording:
            self.trail.clear()
        self.trail.append((localized.recording, place))
        clip = panel.map_of(canvas)
        _draw_trail(clip, panel, [at for _, at in self.trail], localized.recording is not None)
        _draw_camera(clip, panel, pose, localized.camera.intrinsics)
        if localized.confidence is not None:
            _draw_radius(clip, panel, place, float(localized.confidence.translation_radius_m))
        _draw_words(canvas, panel, localized, view_of(pose, self.scene))
        return np.hstack((picture, canvas))


class _Panel:
    """Where things go on a panel of a height in pixels."""

    def __init__(self, height: int, scene: SceneMap) -> None:
        self.scene, self.height = scene, height
        self.width = 2 * round(_PANEL_SHARE * height / 2)
        self.text_px = max(11.0, height / 36.0)
        self.line_px = round(1.75 * self.text_px)
        self.margin = round(0.6 * self.line_px)
        self.top = self.margin + self.line_px
        self.side = min(self.width - 2 * self.margin, height - self.top - round(3.9 * self.line_px))
        self.left = (self.width - self.side) // 2
        self.scale = self.side / (2.0 * scene.radius)  # pixels a unit
        self.thin = max(1, round(height / 480))

    def map_of(self, canvas: Pixels) -> Pixels:
        """The map's part of a canvas."""
        return canvas[self.top : self.top + self.side, self.left : self.left + self.side]

    def pixel(self, place: Array) -> Array:
        """Pixels (..., 2) within the map of places on it."""
        offset = (np.asarray(place) - self.scene.center) * self.scale
        return self.side / 2.0 + offset * (1.0, -1.0)


def _draw_background(panel: _Panel) -> Pixels:
    """All that does not change: training positions, scale, axes."""
    canvas = np.full((panel.height, panel.width, 3), _BACKGROUND, np.uint8)
    area = panel.map_of(canvas)
    area[:] = _MAP
    step = _round_length(panel.scene.radius / 2.0)
    low = panel.scene.center - panel.scene.radius
    for axis in (0, 1):
        for line in range(
            ceil(low[axis] / step), floor((low[axis] + 2 * panel.scene.radius) / step) + 1
        ):
            ends = np.stack((low, low + 2.0 * panel.scene.radius))
            ends[:, axis] = line * step
            _polyline(area, panel.pixel(ends), _GRID, 1)
    for at in panel.pixel(panel.scene.known):
        _dot(area, at, 0.7 + 1.2 * panel.thin, _KNOWN)
    _draw_scale_bar(area, panel, step)
    _draw_axes(area, panel)
    words = "training positions" if len(panel.scene.known) else "training positions unknown"
    size = 0.78 * panel.text_px
    inset = panel.margin * 0.6
    if len(panel.scene.known):
        _dot(area, (inset + 3, inset + 0.5 * size), 0.7 + 1.4 * panel.thin, _KNOWN)
        inset += 10
    _write(area, words, (inset, panel.margin * 0.6), size, _DIM)
    above = "seen from above"
    end = panel.side - panel.margin * 0.6 - _text_width(above, size)
    _write(area, above, (end, panel.margin * 0.6), size, _DIM)
    return canvas


def _draw_scale_bar(area: Pixels, panel: _Panel, length: float) -> None:
    x, y = panel.margin * 0.8, panel.side - panel.margin * 0.8
    end = x + length * panel.scale
    _polyline(area, np.array([(x, y - 5), (x, y), (end, y), (end, y - 5)]), _TEXT, panel.thin)
    size = 0.9 * panel.text_px
    _write(area, f"{length:g} {panel.scene.unit}", (x + 4, y - size - 6), size, _TEXT)


def _draw_axes(area: Pixels, panel: _Panel) -> None:
    """The world's axes, as long as they lie in the map."""
    length = 2.2 * panel.text_px
    base = np.full(2, panel.side) - (length + 1.6 * panel.text_px)
    for i, (name, color) in enumerate(_AXES.items()):
        along = panel.scene.axes[:, i] * (1.0, -1.0)
        if np.linalg.norm(along) < 0.3:  # it points at the viewer or away
            continue
        tip = base + length * along
        cv2.arrowedLine(
            area, _fixed(base), _fixed(tip), color, panel.thin, cv2.LINE_AA, _SHIFT, 0.25
        )
        size = 0.85 * panel.text_px
        middle = tip + 0.75 * size * along / np.linalg.norm(along)
        _write(area, name, middle - (0.3 * size, 0.5 * size), size, color)


def _draw_trail(area: Pixels, panel: _Panel, places: list[Array], joined: bool) -> None:
    """Where the last images were taken, the older the darker; joined where they are a recording."""
    pixels = panel.pixel(np.array(places))
    for i in range(1, len(pixels)):
        share = 0.25 + 0.75 * i / len(pixels)
        color = _mix(_HERE, _MAP, share)
        if joined:
            _polyline(area, pixels[i - 1 : i + 1], color, panel.thin)
        else:
            _dot(area, pixels[i - 1], 1.0 + panel.thin, color)


def _draw_camera(area: Pixels, panel: _Panel, pose: Pose, camera: Intrinsics) -> None:
    """The camera, and what lies in its view, shorter where it looks up or down."""
    place = panel.scene.place(pose.translation.numpy())
    at = panel.pixel(place)
    inside = bool(((at >= 0) & (at <= panel.side)).all())
    at = np.clip(at, 0, panel.side)
    forward, side = pose.rotation.numpy()[:, 2], pose.rotation.numpy()[:, 0]
    reach = 0.16 * panel.side
    slope = camera.width / 2.0 / camera.focal_x
    rays = [forward + slope * turn * side for turn in np.linspace(-1.0, 1.0, 9)]
    rays = [ray / np.linalg.norm(ray) @ panel.scene.axes.T * (1.0, -1.0) for ray in rays]
    outline = np.array([at, *(at + reach * ray for ray in rays)])
    shade = area.copy()
    cv2.fillPoly(shade, [_fixed_all(outline)], _VIEW, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(shade, 0.35, area, 0.65, 0.0, dst=area)
    _polyline(area, np.vstack((outline, at)), _VIEW, panel.thin)
    _dot(area, at, 2.5 + 1.9 * panel.thin, (255, 255, 255))
    _dot(area, at, 1.5 + 1.6 * panel.thin, _HERE if inside else _MAP)


def _draw_radius(area: Pixels, panel: _Panel, place: Array, radius: float) -> None:
    """The circle within which the true position is expected; none that is beyond the map."""
    if radius < 2.0 * panel.scene.radius:
        fixed = round(radius * panel.scale * (1 << _SHIFT))
        center = _fixed(panel.pixel(place))
        cv2.circle(area, center, fixed, _SURE, panel.thin, cv2.LINE_AA, _SHIFT)


def _draw_words(canvas: Pixels, panel: _Panel, localized: Localized, view: View) -> None:
    """The image's name above the map; position and angles below."""
    x, unit = panel.left, panel.scene.unit
    time = "" if localized.time_s is None else f"{localized.time_s:.2f} s"
    room = panel.side - _text_width(time, panel.text_px) - (panel.margin if time else 0)
    name = _shortened(_ascii(Path(localized.name).name), room, panel.text_px)
    _write(canvas, name, (x, panel.margin * 0.9), panel.text_px, _TEXT)
    end = panel.left + panel.side - _text_width(time, panel.text_px)
    _write(canvas, time, (end, panel.margin * 0.9), panel.text_px, _DIM)
    below = panel.top + panel.side + 0.55 * panel.line_px
    position = ", ".join(f"{value:.2f}" for value in localized.pose.translation.tolist())
    at = panel.pixel(panel.scene.place(localized.pose.translation.numpy()))
    outside = "" if ((at >= 0) & (at <= panel.side)).all() else "  (beyond the map)"
    _write(canvas, f"at {position} {unit}{outside}", (x, below), panel.text_px, _TEXT)
    angles = (
        f"heading {view.heading_deg:.0f}, pitch {view.pitch_deg:.0f}, roll {view.roll_deg:.0f} deg"
    )
    _write(canvas, angles, (x, below + panel.line_px), panel.text_px, _TEXT)
    if (sure := localized.confidence) is not None:
        words = f"{LEVEL:.0%} within {sure.translation_radius_m:.2f} {unit}, "
        words += f"{sure.rotation_radius_deg:.0f} deg"
        if is_elsewhere(sure):
            words = "unlike the training images: another place?"
        _write(canvas, words, (x, below + 2 * panel.line_px), panel.text_px, _SURE)


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is no longer."""
    power = 10.0 ** floor(log10(length))
    return max(step for step in (1.0, 2.0, 5.0) if step * power <= length * (1 + 1e-9)) * power


def _fixed(point: Array) -> tuple[int, int]:
    """A point for OpenCV, which counts from pixels' centres."""
    limit = 1 << 20  # far outside, and still an int of OpenCV's
    x, y = (int(np.clip(round((c - 0.5) * (1 << _SHIFT)), -limit, limit)) for c in point)
    return x, y


def _fixed_all(points: Array) -> NDArray[np.int32]:
    return np.array([_fixed(point) for point in points], np.int32)


def _polyline(area: Pixels, points: Array, color: Color, thickness: int) -> None:
    cv2.polylines(area, [_fixed_all(points)], False, color, thickness, cv2.LINE_AA, _SHIFT)


def _dot(area: Pixels, center: Array, radius: float, color: Color) -> None:
    fixed = round(radius * (1 << _SHIFT))
    cv2.circle(area, _fixed(center), fixed, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _write(area: Pixels, text: str, corner: tuple[float, float], size: float, color: Color) -> None:
    """Text whose capital letters begin at a corner and are about as high as ``size`` pixels."""
    base = (round(corner[0]), round(corner[1] + 0.85 * size))
    thickness = 1 if size < 24 else 2
    cv2.putText(area, text, base, _FONT, size / 27.0, color, thickness, cv2.LINE_AA)


def _text_width(text: str, size: float) -> int:
    return cv2.getTextSize(text, _FONT, size / 27.0, 1 if size < 24 else 2)[0][0]


def _shortened(text: str, room: float, size: float) -> str:
    """The end of a text that is too long: frames differ there."""
    while len(text) > 4 and _text_width(text, size) > room:
        text = "..." + text.removeprefix("...")[1:]
    return text


def _ascii(text: str) -> str:
    """OpenCV's strokes know no other letters."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def _mix(color: Color, other: Color, share: float) -> Color:
    return tuple(round(share * a + (1.0 - share) * b) for a, b in zip(color, other, strict=True))
