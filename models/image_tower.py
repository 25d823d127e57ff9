"""Image features of frames by a pretrained vision transformer, which is handed in.

Legend: B frames, H height, W width, D channels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ImageTower(nn.Module):
    """Frames in, one vector a frame out: CLIP's class token, or what SigLIP's head pools."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        vision: Any,
        *,
        pixels: int,
        features: int,
        mean: tuple[float, float, float],
        deviation: tuple[float, float, float],
    ) -> None:
        """The tower of one network.

        Args:
            vision: gives an object with `pooler_output` (B, D) of images (B, 3, pixels, pixels), as
                transformers' CLIPVisionModel and SiglipVisionModel.
            pixels: height and width of its images.
            features: D.
            mean: of each colour over its training images, on a scale of 0 to 1.
            deviation: of each colour, likewise.
        """
        super().__init__()
        self.vision, self.pixels, self.features = vision, pixels, features
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)

    @torch.no_grad()
    def embed(self, frames_uint8: Tensor) -> Tensor:
        """Features (B, D), float32, of square RGB frames (B, 3, H, H), uint8.

        Frames of another size than the network's are resized (bicubic, antialiased). Raises
        ValueError for other frames.
        """
        shape = tuple(frames_uint8.shape)
        is_square = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3]
        if frames_uint8.dtype != torch.uint8 or not is_square:
            raise ValueError(
                f"frames are {frames_uint8.dtype} {shape}; expected uint8 (B, 3, H, H)"
            )
        images = frames_uint8.to(self.mean.device, torch.float32)
        if shape[2] != self.pixels:
            size = (self.pixels, self.pixels)
            images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 255)
        images = (images / 255 - self.mean.float()) / self.deviation.float()
        weight = next(self.vision.parameters())
        return self.vision(images.to(weight.dtype)).pooler_output.float()
