"""A network that reads coarse pixels: what moves means the same wherever in the picture it does.

A layer that has a weight for each cell learns a ball's bounce anew at each place; a convolution
learns it once. Blocks over time then tell what happens from what moves: a contact is a turn between
two movements, which a latent and its neighbours alone seldom show.

Legend: B batch, N latents (25 per second), G grid cells per side.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.convnext import ConvNeXtBlock
from models.pixels import GREY_KINDS

WIDTHS = (24, 48)
"""Channels of the two layers, each of which halves the grid."""
REACH = 7
"""Latents that a block over time sees."""


class CellNetwork(nn.Module):
    """The grids of cells of a latent (`models.pixels`), those around it too, to its channels."""

    def __init__(self, cells: int, width: int, blocks: int = 0, kinds: int = GREY_KINDS) -> None:
        """Layers for ``kinds`` of grids of ``cells`` per side that give ``width`` channels.

        Behind them lie so many ``blocks`` over time.
        """
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
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, REACH) for _ in range(blocks))

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Pixels (B, N, kinds · G · G) to channels (B, N, width); beside the ends lie zeros.

        So does padding, where ``mask`` (B, N) is False: its pixels must be zero.
        """
        batch, latents, _ = pixels.shape
        grids = F.pad(pixels, (0, 0, 1, 1)).unflatten(-1, (self.kinds, self.cells, self.cells))
        around = torch.cat([grids[:, at : at + latents] for at in range(3)], 2)
        images = around.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x: Tensor = self.layers(images).unflatten(0, (batch, latents))
        for block in self.blocks:
            x = block(x.masked_fill(~mask[..., None], 0))
        return x
