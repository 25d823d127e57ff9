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
PIXELS_DIM = 2 * GRID * GRID
"""Channels at the default grid: the brightness of each cell, then by how much it rose."""
LEVEL = 64.0
RISE = 16.0
"""Grey levels that count as 1: about one deviation of what each kind of channel is in films."""


def coarse_pixels(frames: NDArray[np.uint8], grid: int = GRID) -> NDArray[np.float32]:
    """Pixels (F, 2 · grid · grid), float32, of grey frames (F, H, W), uint8, at 25 fps.

    - the first half: each cell's brightness, less that of the whole frame, over `LEVEL`;
    - the second half: by how much that rose since the frame before, over `RISE`; 0 in the first.

    Less the whole frame, because the light of old film flickers. Cells go row by row from the top
    left. Raises ValueError for frames of another kind or smaller than the grid.
    """
    cells = CellGrid.of(frames, grid)
    means = np.stack([cells.sums(frame) / cells.areas for frame in frames])  # (F, G, G)
    level = (means - means.mean(axis=(1, 2), keepdims=True)).reshape(len(frames), -1)
    rise = np.diff(level, axis=0, prepend=level[:1])
    return np.concatenate([level / LEVEL, rise / RISE], axis=1).astype(np.float32)
