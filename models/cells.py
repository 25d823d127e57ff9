"""A network that reads coarse pixels: what moves means the same wherever in the picture it does.

A layer that has a weight for each cell learns a ball's bounce anew at each place; a convolution
learns it once.

Legend: B batch, N latents (25 per second), G grid cells per side.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.pixels import GREY_KINDS

WIDTHS = (24, 48)
"""Channels of the two layers, each of which halves the grid."""


class CellNetwork(nn.Module):
    """The grids of cells of a latent (`models.pixels`), those around it too, to its channels."""

    def __init__(self, cells: int, width: int, kinds: int = GREY_KINDS) -> None:
        """Layers for ``kinds`` of grids of ``cells`` per side that give ``width`` channels."""
        super().__init__()
        self.cells, self.kinds = cells, kinds
        first, second = WIDTHS
        left = math.ceil(math.ceil(cells / 2) / 2)
        self.layers = nn.Sequential(
            nn.Conv2d(3 * kinds, first, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(second * left * left, width),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, N, kinds · G · G) to channels (B, N, width); beside the ends lie zeros."""
        batch, latents, _ = pixels.shape
        grids = F.pad(pixels, (0, 0, 1, 1)).unflatten(-1, (self.kinds, self.cells, self.cells))
        around = torch.cat([grids[:, at : at + latents] for at in range(3)], 2)
        images = around.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.layers(images).unflatten(0, (batch, latents))
