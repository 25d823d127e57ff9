"""What the staged world looks like: everything drawn where it is at the time of each picture.

Places are drawn to a sixteenth of a pixel. Over the scene lie what a film adds: a camera that is
not quite still, light that flickers, scratches. Legend: F pictures, H = W pixels of a side.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.world_motion import (
    SPAN_M,
    TOP_M,
    Body,
    Drift,
    Mover,
    Rain,
    Scene,
    Swing,
    Walk,
    Way,
)

Image = NDArray[np.uint8]
SHIFT = 4
WATER, CLOUD, SHOE_DARK = (170, 196, 226), (206, 206, 214), 0.6
SPLASH_S = 0.08


@dataclass(frozen=True, slots=True)
class Film:
    """What a camera and an old print do to the pictures.

    Attributes:
        shake_px: how far the camera moves, at a side of 128 pixels.
        flicker: share by which the light goes up and down.
        scratches_hz: scratches and specks of dust in a second.
    """

    shake_px: float
    flicker: float
    scratches_hz: float


STILL = Film(0.0, 0.0, 0.0)


def draw_film(generator: np.random.Generator) -> Film:
    """A camera and a print by chance; a third of them are without fault."""
    if generator.random() < 0.33:
        return STILL
    return Film(
        float(generator.uniform(0.0, 1.2)),
        float(generator.uniform(0.0, 0.08)),
        float(generator.choice([0.0, 0.0, 3.0, 12.0])),
    )


def draw_room(side: int, generator: np.random.Generator) -> Image:
    """An empty room (H, W, 3): a wall that gets darker to one side, and a floor."""
    wall, floor = generator.uniform(70, 190, 3), generator.uniform(50, 150, 3)
    slope = np.linspace(1.0, generator.uniform(0.75, 1.0), side)[None, :, None]
    line = round(TOP_M / SPAN_M * side)
    room = np.empty((side, side, 3))
    room[:line] = wall * slope
    room[line:] = floor * slope
    if generator.random() < 0.4:
        for x in range(0, side, max(side // 8, 2)):
            room[:line, x] *= 0.94
    return np.clip(room, 0, 255).astype(np.uint8)


def draw_scene(image: Image, scene: Scene, time_s: float) -> None:
    """Draws all that moves into a picture (H, W, 3) as it is at a time."""
    for mover in scene.movers:
        draw_mover(image, mover, time_s)


def draw_mover(image: Image, mover: Mover, time_s: float) -> None:
    """Draws one mover into a picture (H, W, 3) as it is at a time."""
    match mover:
        case Way():
            if (place := mover.at(time_s)) is not None:
                turn = -place[0] / mover.body.radius_m if mover.rolls else 0.0
                _draw_body(image, mover.body, *place, turn)
        case Swing():
            _draw_door(image, mover, mover.angle(time_s))
        case Walk():
            _draw_walker(image, mover, time_s)
        case Rain():
            _draw_rain(image, mover, time_s)
        case Drift():
            x_m, y_m = mover.at(time_s)
            radius = mover.body.radius_m
            _ellipse(image, x_m, y_m, 1.8 * radius, radius, CLOUD)
            _ellipse(image, x_m - 0.6 * radius, y_m + 0.5 * radius, radius, 0.8 * radius, CLOUD)


def as_filmed(image: Image, film: Film, generator: np.random.Generator, shift_px: Any) -> Image:
    """A picture as a film shows it.

    Args:
        image: (H, W, 3) the scene; scratches are drawn into it.
        film: what the film does.
        generator: for flicker and scratches of this picture.
        shift_px: (x, y) by which the camera is off.
    """
    side = image.shape[0]
    if film.shake_px:
        move = np.array([[1, 0, shift_px[0]], [0, 1, shift_px[1]]], np.float64)
        border = cv2.BORDER_REPLICATE
        image = np.asarray(cv2.warpAffine(image, move, (side, side), borderMode=border), np.uint8)
    if film.scratches_hz:
        for _ in range(int(generator.poisson(film.scratches_hz / 25))):
            x, y = (int(value) for value in generator.integers(0, side, 2))
            bright = 235 if generator.random() < 0.5 else 25
            colour = (bright, bright, bright)
            if generator.random() < 0.5:
                cv2.line(image, (x, 0), (x + int(generator.integers(-3, 4)), side), colour, 1)
            else:
                cv2.circle(image, (x, y), int(generator.integers(1, 3)), colour, -1)
    if film.flicker:
        gain = 1.0 + film.flicker * float(generator.standard_normal())
        image = np.asarray(cv2.convertScaleAbs(image, alpha=max(gain, 0.3)), np.uint8)
    return image


def shakes(frames: int, size: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """(F, 2) smooth motion about 0 of about this size, as of a hand or a head."""
    steps = generator.standard_normal((frames + 24, 2))
    kernel = np.hanning(25)
    kernel /= math.sqrt(float((kernel**2).sum()))
    return size * np.stack([np.convolve(steps[:, axis], kernel, "valid") for axis in (0, 1)], 1)


def _draw_body(image: Image, body: Body, x_m: float, y_m: float, turn: float) -> None:
    radius, colour = body.radius_m, body.made_of.colour
    dark = _scaled(colour, 0.55)
    if body.shape == "box":
        corners = [(-radius, -radius), (radius, -radius), (radius, radius), (-radius, radius)]
        _polygon(image, [(x_m + x, y_m + y) for x, y in corners], colour)
        _line(image, (x_m - radius, y_m), (x_m + radius, y_m), dark)
    elif body.shape == "shard":
        corners = [(-radius, -radius), (radius, -0.4 * radius), (0.1 * radius, radius)]
        _polygon(image, [(x_m + x, y_m + y) for x, y in corners], colour)
    elif body.shape == "vase":
        _ellipse(image, x_m, y_m - 0.2 * radius, 0.75 * radius, 0.8 * radius, colour)
        neck = [(-0.3, 0.4), (0.3, 0.4), (0.45, 1.0), (-0.45, 1.0)]
        _polygon(image, [(x_m + x * radius, y_m + y * radius) for x, y in neck], colour)
    else:
        _ellipse(image, x_m, y_m, radius, radius, colour)
        mark = (0.5 * radius * math.cos(turn), 0.5 * radius * math.sin(turn))
        _ellipse(image, x_m + mark[0], y_m + mark[1], 0.28 * radius, 0.28 * radius, dark)
    if body.material in ("metal", "glass") and body.shape != "shard":
        light = _scaled(colour, 1.45)
        _ellipse(image, x_m - 0.35 * radius, y_m + 0.4 * radius, 0.2 * radius, 0.2 * radius, light)


def _draw_door(image: Image, door: Swing, angle: float) -> None:
    width, height = 0.42 * door.height_m, door.height_m
    x_m = door.x_m
    frame = [(x_m, 0), (x_m + width, 0), (x_m + width, height), (x_m, height)]
    _polygon(image, frame, (24, 22, 26))
    edge, lean = x_m + width * math.cos(angle), 0.18 * width * math.sin(angle)
    leaf = [(x_m, 0), (edge, -lean), (edge, height + lean), (x_m, height)]
    colour = door.body.made_of.colour
    _polygon(image, leaf, _scaled(colour, 1.0 - 0.25 * math.sin(angle)))
    handle = x_m + 0.85 * width * math.cos(angle)
    _ellipse(image, handle, 0.48 * height, 0.02, 0.02, _scaled(colour, 0.5))


def _draw_walker(image: Image, walker: Walk, time_s: float) -> None:
    feet = walker.feet(time_s)
    hip = ((feet[0][0] + feet[1][0]) / 2, 0.48)
    cloth = (58, 60, 74)
    _line(image, hip, (hip[0], 0.95), cloth, 0.12)
    _ellipse(image, hip[0], 1.12, 0.09, 0.11, (206, 160, 128))
    radius, colour = walker.body.radius_m, walker.body.made_of.colour
    for x_m, y_m in feet:
        _line(image, hip, (x_m, y_m + 0.06), cloth, 0.06)
        _ellipse(image, x_m, y_m + 0.4 * radius, radius, 0.4 * radius, colour)


def _draw_rain(image: Image, rain: Rain, time_s: float) -> None:
    left_s = rain.hits_s - time_s
    for drop in np.flatnonzero((left_s > 0) & (left_s * rain.speed_mps < TOP_M)):
        x_m, y_m = float(rain.x_m[drop]), float(left_s[drop] * rain.speed_mps)
        _line(image, (x_m, y_m), (x_m, y_m + 0.09), WATER)
    for drop in np.flatnonzero((left_s <= 0) & (left_s > -SPLASH_S)):
        x_m = float(rain.x_m[drop])
        _line(image, (x_m - 0.03, 0.02), (x_m + 0.03, 0.02), WATER)


def _scaled(colour: tuple[int, int, int], by: float) -> tuple[int, int, int]:
    red, green, blue = (min(round(part * by), 255) for part in colour)
    return red, green, blue


def _at(image: Image, x_m: float, y_m: float) -> tuple[int, int]:
    """A place in sixteenths of a pixel; a pixel's own place is its middle."""
    scale = image.shape[0] / SPAN_M
    one = 1 << SHIFT
    return round((x_m * scale - 0.5) * one), round(((TOP_M - y_m) * scale - 0.5) * one)


def _long(image: Image, length_m: float) -> int:
    return max(round(length_m * image.shape[0] / SPAN_M * (1 << SHIFT)), 1)


def _ellipse(image: Image, x_m: float, y_m: float, a_m: float, b_m: float, colour: Any) -> None:
    axes = (_long(image, a_m), _long(image, b_m))
    cv2.ellipse(image, _at(image, x_m, y_m), axes, 0, 0, 360, colour, -1, cv2.LINE_AA, SHIFT)


def _polygon(image: Image, corners_m: list[tuple[float, float]], colour: Any) -> None:
    corners = np.array([_at(image, x, y) for x, y in corners_m], np.int32)
    cv2.fillConvexPoly(image, corners, colour, cv2.LINE_AA, SHIFT)


def _line(
    image: Image,
    start_m: tuple[float, float],
    end_m: tuple[float, float],
    colour: Any,
    thick_m: float = 0.0,
) -> None:
    thick = max(round(thick_m * image.shape[0] / SPAN_M), 1)
    start, end = _at(image, *start_m), _at(image, *end_m)
    cv2.line(image, start, end, colour, thick, cv2.LINE_AA, SHIFT)
