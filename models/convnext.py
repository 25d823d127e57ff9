"""A ConvNeXt block over time: a depthwise convolution, then a pointwise network, added on.

After Liu et al. 2022, in one dimension as in Vocos (Siuzdak 2023).

Legend: B batch, T steps, D width.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Sees `kernel` steps; its output starts small, so that a deep stack starts near identity."""

    def __init__(self, width: int, kernel: int, expansion: int = 3, scale: float = 0.1) -> None:
        """A block of this width D; `kernel` is odd."""
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        nn.init.zeros_(self.contract.bias)
        nn.init.trunc_normal_(self.contract.weight, std=scale * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output (B, T, D) of x (B, T, D)."""
        mixed = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return x + self.contract(F.gelu(self.expand(self.norm(mixed))))
