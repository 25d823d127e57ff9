"""Coarse pixels: what the picture looks like and how it changes, on a grid of a few cells.

A bounce is a change of direction, which the energy of motion does not tell; the cells of a coarse
picture do, and which way each gets brighter. There is nothing to learn here and nothing to have:
the model learns what to make of them.

Legend: F frames (25 per second), H height, W width, G grid cells per side.
"""

import numpy as np
from numpy.typing import NDArray

from models.motion import CellGrid

GRID = 16
FINE_GRID = 28
"""By default each cell is four by four of the pixels that the decode pass keeps; a body of a tenth
of the picture is nearly three of them wide."""
GREY_KINDS, COLOUR_KINDS = 2, 6
"""Grids that each frame gives, without colour and with it."""
PIXELS_DIM = GREY_KINDS * GRID * GRID
"""Channels at the default grid: the brightness of each cell, then by how much it rose."""
LEVEL, RISE = 64.0, 16.0
"""Grey levels that count as 1: about one deviation of what each kind of channel is in films."""
COLOUR, COLOUR_RISE = 16.0, 4.0
"""The same of colour: in six films of the demo corpus a deviation is 0.4 to 1.5 and 0.1 to 0.7."""
# ITU-R BT.601: the share of red, green and blue in brightness, and what scales the two differences.
LUMA = np.array([0.299, 0.587, 0.114])
BLUE, RED = 0.492, 0.877


def coarse_pixels(frames: NDArray[np.uint8], grid: int = GRID) -> NDArray[np.float32]:
    """Pixels (F, 2 · grid · grid), float32, of grey frames (F, H, W), uint8, at 25 fps.

    - the first half: each cell's brightness, less that of the whole frame, over `LEVEL`;
    - the second half: by how much that rose since the frame before, over `RISE`; 0 in the first.

    Less the whole frame, because the light of old film flickers. Cells go row by row from the top
    left. Raises ValueError for frames of another kind or smaller than the grid.
    """
    return _kinds(_means(frames, grid), LEVEL, RISE).astype(np.float32)


def colour_pixels(frames: NDArray[np.uint8], grid: int = FINE_GRID) -> NDArray[np.float32]:
    """Pixels (F, 6 · grid · grid), float32, of RGB frames (F, H, W, 3), uint8, at 25 fps.

    The first third is that of `coarse_pixels`, of the brightness; then come the same two halves of
    the difference of blue to it, and of red (U and V of ITU-R BT.601), over `COLOUR` and
    `COLOUR_RISE`. A red ball before a green wall as bright as itself is in these alone. Film
    without colour has 0 there. Raises ValueError for frames of another kind or smaller than the
    grid.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames are {frames.shape}; expected (frames, height, width, 3)")
    means = np.stack([_means(frames[..., part], grid) for part in range(3)], axis=-1)
    light = means @ LUMA
    blue, red = BLUE * (means[..., 2] - light), RED * (means[..., 0] - light)
    colours = [_kinds(colour, COLOUR, COLOUR_RISE) for colour in (blue, red)]
    return np.concatenate([_kinds(light, LEVEL, RISE), *colours], axis=1).astype(np.float32)


def _means(frames: NDArray[np.uint8], grid: int) -> NDArray[np.float64]:
    """The means of the cells (F, G, G) of frames (F, H, W); raises ValueError."""
    cells = CellGrid.of(frames, grid)
    return np.stack([cells.sums(frame) / cells.areas for frame in frames])


def _kinds(means: NDArray[np.float64], level: float, rise: float) -> NDArray[np.float64]:
    """Channels (F, 2 · G · G) of cells (F, G, G): level less the whole frame, and its rise."""
    even = (means - means.mean(axis=(1, 2), keepdims=True)).reshape(len(means), -1)
    return np.concatenate([even / level, np.diff(even, axis=0, prepend=even[:1]) / rise], axis=1)
