"""A drawn face whose mouth follows phonemes: varied heads, visemes, blinks, small movements.

A head is painted once a clip, with its alpha, at twice its size; each picture paints mouth and eyes
on a copy and lays it into the scene. Legend: F pictures, S side of the painted head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.world_mouth import Mouth

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

SIDE = 192
"""S: pixels of a painted head's square."""
UNIT = SIDE / 2.6
"""Pixels of half a head's height."""
SHIFT = 4
"""Bits of a fraction of a pixel in which OpenCV is told where to draw."""

SKINS: tuple[Colour, ...] = (
    (244, 208, 177), (231, 180, 143), (206, 150, 110), (166, 112, 78), (124, 80, 56), (88, 56, 40),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (40, 30, 26), (78, 50, 30), (128, 84, 44), (196, 160, 92), (150, 150, 152), (112, 48, 28),
)  # fmt: skip
IRISES: tuple[Colour, ...] = ((70, 45, 30), (60, 100, 140), (80, 120, 80), (40, 34, 30))
SHIRTS: tuple[Colour, ...] = ((60, 80, 130), (120, 50, 60), (70, 110, 80), (60, 60, 64))
LIP_TINTS: tuple[Colour, ...] = ((190, 84, 84), (170, 70, 80), (206, 110, 100))


@dataclass(frozen=True, slots=True)
class Look:
    """What a face looks like, in units of half its height where it is a length."""

    skin: Colour
    hair: Colour
    iris: Colour
    shirt: Colour
    lips: Colour
    width: float
    fringe: float
    long_hair: bool
    brows: float
    eyes_apart: float
    eye_size: float
    nose: float
    mouth_width: float
    lip: float
    glasses: bool
    beard: bool


def draw_look(generator: np.random.Generator) -> Look:
    """A face by chance."""

    def pick(choices: Sequence[Any]) -> Any:
        return choices[int(generator.integers(len(choices)))]

    def between(low: float, high: float) -> float:
        return float(generator.uniform(low, high))

    skin = pick(SKINS)
    lips = tuple((2 * tint + tone) // 3 for tint, tone in zip(pick(LIP_TINTS), skin, strict=True))
    return Look(
        skin=skin,
        hair=pick(HAIRS),
        iris=pick(IRISES),
        shirt=pick(SHIRTS),
        lips=(lips[0], lips[1], lips[2]),
        width=between(0.70, 0.80),
        fringe=between(0.48, 0.66),
        long_hair=bool(generator.random() < 0.4),
        brows=between(0.03, 0.06),
        eyes_apart=between(0.30, 0.36),
        eye_size=between(0.12, 0.15),
        nose=between(0.10, 0.15),
        mouth_width=between(0.24, 0.30),
        lip=between(0.05, 0.08),
        glasses=bool(generator.random() < 0.2),
        beard=bool(generator.random() < 0.2),
    )


def paint_head(look: Look) -> tuple[Image, NDArray[np.float32]]:
    """A head without mouth and eyes (S, S, 3), and where it covers what is behind (S, S, 1)."""
    skin = np.array(look.skin, np.float32)
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    image[:] = look.hair
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    for target, shirt, hair, tone in (
        (image, look.shirt, look.hair, look.skin),
        (alpha, *[255] * 3),
    ):
        _ellipse(target, (0, 1.55), (1.05, 0.6), shirt)
        if look.long_hair:
            _ellipse(target, (0, 0.1), (look.width + 0.2, 1.15), hair)
        _ellipse(target, (0, -0.12), (look.width + 0.08, 0.98), hair)
        _ellipse(target, (0, 0.85), (0.30, 0.45), tone)
    dark = tuple((skin * 0.72).astype(int).tolist())
    _ellipse(image, (0, 0.82), (0.30, 0.30), dark)
    for side in (-1, 1):
        _ellipse(image, (side * look.width, 0.05), (0.10, 0.18), dark)
        _ellipse(alpha, (side * look.width, 0.05), (0.10, 0.18), 255)
    _ellipse(image, (0, 0), (look.width, 1.0), look.skin)
    _ellipse(alpha, (0, 0), (look.width, 1.0), 255)
    _shade(image, look)
    face = np.zeros((SIDE, SIDE), np.uint8)
    _ellipse(face, (0, 0), (look.width, 1.0), 255)
    # The hair's edge: what of the head lies above an arc.
    hair = np.zeros((SIDE, SIDE), np.uint8)
    _ellipse(hair, (0, -1.0), (look.width + 0.2, 1.0 - look.fringe + 0.12), 255)
    image[(hair > 127) & (face > 0)] = look.hair
    if look.beard:
        beard = np.zeros((SIDE, SIDE), np.uint8)
        _ellipse(beard, (0, 0.62), (look.width * 0.86, 0.42), 255)
        _ellipse(beard, (0, 0.50), (look.mouth_width + 0.06, 0.16), 0)
        chosen = (beard > 127) & (face > 127)
        image[chosen] = (0.6 * np.array(look.hair) + 0.4 * image[chosen]).astype(np.uint8)
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), 1.6), np.uint8)
    edge = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.8), np.float32)
    return soft, edge[:, :, None] / np.float32(255)


def paint_features(head: Image, look: Look, mouth: Mouth, blink: float, gaze: float) -> Image:
    """A copy of a head with mouth, eyes, brows and glasses.

    Args:
        head: what `paint_head` gave.
        look: of the same head.
        mouth: how the mouth stands.
        blink: 0 for open eyes to 1 for closed ones.
        gaze: where the eyes look, from -1 to 1.
    """
    image = head.copy()
    lid = tuple((np.array(look.skin) * 0.8).astype(int).tolist())
    for side in (-1, 1):
        at = (side * look.eyes_apart, -0.12)
        opened = look.eye_size * 0.62 * (1 - 0.9 * blink)
        _ellipse(image, at, (look.eye_size * 1.12, look.eye_size * 0.72), lid)
        _ellipse(image, at, (look.eye_size, opened), (244, 244, 240))
        if blink < 0.6:
            iris = (at[0] + 0.03 * gaze, at[1])
            _ellipse(image, iris, (0.062, min(0.062, opened)), look.iris)
            _ellipse(image, iris, (0.03, min(0.03, opened)), (12, 10, 10))
        _arc(
            image,
            (at[0], at[1] - 0.02),
            (look.eye_size * 1.25, look.eye_size * 0.9),
            look.brows * 0.6,
            (40, 28, 24),
        )
        _arc(
            image,
            (at[0], at[1] - 0.12),
            (look.eye_size * 1.5, look.eye_size),
            look.brows * 1.4,
            look.hair,
        )
        if look.glasses:
            _ring(image, at, look.eye_size * 1.7, (30, 30, 34))
    _mouth(image, look, mouth)
    return image


def _mouth(image: Image, look: Look, mouth: Mouth) -> None:
    """Lips, and what stands between them: the dark, teeth, the tongue."""
    spread = look.mouth_width * (1.0 + 0.30 * mouth.width - 0.38 * mouth.rounding)
    opened = 0.26 * mouth.aperture
    thick = look.lip * (1.0 + 0.5 * mouth.rounding)
    at = (0.0, 0.52 + opened * 0.35)
    _ellipse(image, at, (spread, opened + thick), look.lips)
    if opened > 0.012:
        inside = (spread * 0.84, opened)
        _ellipse(image, at, inside, (52, 20, 24))
        if opened > 0.05:
            _ellipse(
                image, (0, at[1] - opened * 0.62), (spread * 0.62, opened * 0.3), (236, 232, 224)
            )
            _ellipse(
                image, (0, at[1] + opened * 0.55), (spread * 0.5, opened * 0.36), (168, 72, 76)
            )
    else:
        dark = tuple((np.array(look.lips) * 0.55).astype(int).tolist())
        _ellipse(image, at, (spread * 0.92, 0.012), dark)


def _shade(image: Image, look: Look) -> None:
    """Light from above on forehead, cheeks and nose, and shadow under brows, nose and lips."""
    skin = np.array(look.skin, np.float32)
    light = tuple(np.minimum(skin * 1.10 + 6, 255).astype(int).tolist())
    dark = tuple((skin * 0.86).astype(int).tolist())
    darker = tuple((skin * 0.66).astype(int).tolist())
    layer = image.copy()
    for side in (-1, 1):
        _ellipse(layer, (side * look.width * 0.98, 0.1), (0.16, 0.8), dark)
        _ellipse(layer, (side * look.eyes_apart, -0.13), (look.eye_size * 1.6, 0.15), dark)
        _ellipse(layer, (side * 0.42, 0.24), (0.16, 0.12), light)
    _ellipse(layer, (0, -0.45), (0.4, 0.2), light)
    _ellipse(layer, (0, 0.98), (0.4, 0.14), dark)
    _ellipse(layer, (0.05, 0.06), (0.06, 0.24), dark)
    _ellipse(layer, (-0.01, 0.06), (0.04, 0.24), light)
    _ellipse(layer, (0, 0.80), (0.18, 0.06), dark)
    soft = cv2.GaussianBlur(layer, (0, 0), 5)
    image[:] = soft
    _ellipse(image, (0, 0.24), (look.nose, 0.07), dark)
    _ellipse(image, (0, 0.21), (look.nose * 0.7, 0.07), light)
    for side in (-1, 1):
        _ellipse(image, (side * look.nose * 0.5, 0.27), (0.028, 0.018), darker)


def _ellipse(image: Image, at: tuple[float, float], axes: tuple[float, float], colour: Any) -> None:
    cv2.ellipse(image, _point(*at), _axes(axes), 0, 0, 360, colour, -1, cv2.LINE_AA, SHIFT)


def _arc(
    image: Image, at: tuple[float, float], axes: tuple[float, float], thick: float, colour: Any
) -> None:
    width = max(1, round(thick * UNIT))
    cv2.ellipse(image, _point(*at), _axes(axes), 0, 205, 335, colour, width, cv2.LINE_AA, SHIFT)


def _ring(image: Image, at: tuple[float, float], radius: float, colour: Any) -> None:
    cv2.ellipse(
        image, _point(*at), _axes((radius, radius)), 0, 0, 360, colour, 2, cv2.LINE_AA, SHIFT
    )


def _point(x: float, y: float) -> tuple[int, int]:
    """Where a place of the head lies in its square, in sixteenths of a pixel."""
    scale = 1 << SHIFT
    return round((SIDE / 2 + x * UNIT) * scale), round((SIDE * 0.46 + y * UNIT) * scale)


def _axes(axes: tuple[float, float]) -> tuple[int, int]:
    scale = UNIT * (1 << SHIFT)
    return max(round(axes[0] * scale), 1), max(round(axes[1] * scale), 1)
