"""Coarse pixels against pictures whose cells are known."""

import numpy as np
import pytest

from models.pixels import (
    COLOUR,
    COLOUR_KINDS,
    COLOUR_RISE,
    FINE_GRID,
    GRID,
    LEVEL,
    PIXELS_DIM,
    RISE,
    coarse_pixels,
    colour_pixels,
)


def halves(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level and rise (F, G, G)."""
    level, rise = np.split(pixels, 2, axis=1)
    return level.reshape(-1, GRID, GRID), rise.reshape(-1, GRID, GRID)


def test_a_cell_that_lights_up_rises_and_then_stays_bright() -> None:
    frames = np.zeros((3, 32, 32), np.uint8)
    frames[1:, 2:4, 4:6] = 128
    pixels = coarse_pixels(frames)
    assert pixels.shape == (3, PIXELS_DIM)
    level, rise = halves(pixels)
    share = 1 / GRID**2
    bright = 128 * (1 - share)
    assert level[:, 1, 2] == pytest.approx([0, bright / LEVEL, bright / LEVEL])
    assert rise[:, 1, 2] == pytest.approx([0, bright / RISE, 0])
    assert level[1, 0, 0] == pytest.approx(-128 * share / LEVEL)


def test_a_picture_that_flickers_as_a_whole_does_not_change() -> None:
    picture = np.random.default_rng(1).integers(0, 100, (1, 48, 48))
    frames = (picture + np.array([0, 40, 20, 90])[:, None, None]).astype(np.uint8)
    level, rise = halves(coarse_pixels(frames))
    assert np.abs(rise).max() < 1e-5
    assert np.ptp(level, axis=0).max() < 1e-5
    assert np.abs(level).max() > 0.1


def test_moving_to_the_left_is_not_moving_to_the_right() -> None:
    frames = np.zeros((2, GRID, GRID), np.uint8)
    frames[0, 5, 5] = frames[1, 5, 6] = 200
    there, back = coarse_pixels(frames), coarse_pixels(frames[::-1])
    assert np.allclose(halves(there)[1][1], -halves(back)[1][1])


def test_cells_of_a_picture_that_does_not_divide_evenly_are_means() -> None:
    level, _ = halves(coarse_pixels(np.full((1, 37, 53), 90, np.uint8)))
    assert np.allclose(level, 0, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 8, 32), (2, 32, 32, 3)])
def test_frames_that_have_no_such_grid_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"frames (are|of)"):
        coarse_pixels(np.zeros(shape, np.uint8))


def test_colour_tells_a_red_thing_from_a_green_wall_that_is_as_bright() -> None:
    red, green = (200, 40, 39), (76, 104, 30)  # a brightness of 87.7 and of 87.2
    frames = np.full((2, 56, 56, 3), green, np.uint8)
    frames[1, 10:12, 20:22] = red
    pixels = colour_pixels(frames).reshape(2, COLOUR_KINDS, FINE_GRID, FINE_GRID)
    assert np.abs(pixels[:, :2]).max() < 0.05
    share = 1 / FINE_GRID**2
    expected = 0.877 * ((200 - 87.7) - (76 - 87.2)) * (1 - share) / COLOUR
    assert pixels[1, 4, 5, 10] == pytest.approx(expected, abs=0.03)
    assert pixels[1, 5, 5, 10] == pytest.approx(expected * COLOUR / COLOUR_RISE, abs=0.1)
    assert pixels[1, 2, 5, 10] == pytest.approx(0.492 * (39 - 30) / COLOUR, abs=0.03)
    assert np.abs(pixels[0, 2:]).max() < 1e-5


def test_grey_film_in_colour_frames_is_its_brightness_alone() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (4, 60, 70), dtype=np.uint8)
    pixels = colour_pixels(np.repeat(grey[..., None], 3, axis=-1))
    third = pixels.shape[1] // 3
    np.testing.assert_allclose(pixels[:, :third], coarse_pixels(grey, FINE_GRID), atol=1e-5)
    assert np.abs(pixels[:, third:]).max() < 1e-5


@pytest.mark.parametrize("shape", [(2, 32, 32), (2, 32, 32, 4), (2, 8, 32, 3)])
def test_frames_that_are_no_colour_or_too_small_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"frames (are|of)"):
        colour_pixels(np.zeros(shape, np.uint8))
