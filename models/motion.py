"""Motion energy: how much the picture changes, where, and when it begins to.

Legend: F frames (25 per second), H height, W width, G grid cells per side.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

GRID = 4
WHOLE_DIM = 2
"""Channels of the whole picture, which come first: how much it changes, and the onset of that."""
MOTION_DIM = WHOLE_DIM + GRID * GRID
"""Channels at the default grid: the whole picture's, then 16 cells row by row."""


@dataclass(frozen=True, slots=True, eq=False)
class CellGrid:
    """A picture's cells, as even as whole pixels allow.

    Attributes:
        rows: where each row of cells begins.
        columns: where each column begins.
        areas: pixels of each cell (G, G).
    """

    rows: list[int]
    columns: list[int]
    areas: NDArray[np.int64]

    @classmethod
    def of(cls, frames: NDArray[np.uint8], grid: int) -> Self:
        """The grid of grey frames (F, H, W).

        Raises ValueError for frames of another kind or smaller than the grid.
        """
        if frames.ndim != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"frames are {frames.dtype} {frames.shape}; expected uint8 (frames, height, width)"
            )
        _, height, width = frames.shape
        if min(height, width) < grid:
            raise ValueError(
                f"frames of {width} x {height} are smaller than a grid of {grid} x {grid}"
            )
        rows = [height * row // grid for row in range(grid)]
        columns = [width * column // grid for column in range(grid)]
        areas = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
        return cls(rows, columns, areas)

    def sums(self, image: NDArray[np.integer]) -> NDArray[np.int64]:
        """The sum of each cell (G, G) of an image (H, W)."""
        by_row = np.add.reduceat(image, self.rows, 0, dtype=np.int64)
        return np.add.reduceat(by_row, self.columns, 1)


def motion_energy(frames: NDArray[np.uint8], grid: int = GRID) -> NDArray[np.float32]:
    """Motion (F, 2 + grid * grid), float32, of grey frames (F, H, W), uint8, at 25 fps.

    - channel 0: ln(1 + d), where d is the mean absolute difference to the frame before, in grey
      levels 0 to 255;
    - channel 1: the onset, how much channel 0 rose since the frame before, never below 0;
    - channels 2…: ln(1 + d) of each grid cell, row by row from the top left.

    The first frame, which has none before it, is all 0. Raises ValueError for frames of another
    kind or smaller than the grid.
    """
    cells = CellGrid.of(frames, grid)
    energy = np.zeros((len(frames), 2 + grid * grid), dtype=np.float32)
    for frame in range(1, len(frames)):
        # int16 holds every difference of two bytes; uint8 would wrap around.
        difference = np.abs(frames[frame].astype(np.int16) - frames[frame - 1])
        sums = cells.sums(difference)
        energy[frame, 0] = np.log1p(sums.sum() / cells.areas.sum())
        energy[frame, 2:] = np.log1p(sums / cells.areas).ravel()
    energy[1:, 1] = np.maximum(np.diff(energy[:, 0]), 0)
    return energy
