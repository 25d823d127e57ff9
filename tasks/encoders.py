"""The image encoders by name: EfficientNet-Lite0 of a package, CLIP and SigLIP of the hub.

Those of whole clips, Synchformer and AV-HuBERT, are in `tasks/clip_encoders.py`.

Legend: F frames, H height, W width, D channels.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tasks import weights
from tasks.pretrained import TRANSFORMERS_FILE, Pretrained, library_class

if TYPE_CHECKING:
    import torch

EncoderName = Literal["efficientnet_lite0", "clip_vit_b16", "siglip_b16"]
ENCODERS: tuple[str, ...] = get_args(EncoderName)
EFFICIENTNET = "efficientnet_lite0"
_SETTING = "look.pretrained"

# Small batches of channels-last images stay in the cache: 12 ms a frame on one core, against 28 ms
# for batches of 32 planar ones.
BATCH_FRAMES = 4


@dataclass(frozen=True, slots=True, eq=False)
class ImageEncoder:
    """Image features (F, D), float32, of RGB frames (F, H, W, 3), uint8.

    Attributes:
        extractor: what its features are called.
        features: D.
        batch_frames: frames that go through the network at once.
    """

    extractor: str
    features: int
    batch_frames: int
    _embed: "Callable[[torch.Tensor], torch.Tensor]"

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Image features (F, D) of RGB frames (F, H, W, 3); none give none."""
        import torch

        parts = [np.zeros((0, self.features), dtype=np.float32)]
        with torch.inference_mode():
            for first in range(0, len(frames), self.batch_frames):
                batch = np.ascontiguousarray(frames[first : first + self.batch_frames])
                images = torch.from_numpy(batch).permute(0, 3, 1, 2)  # (B, 3, H, W)
                parts.append(self._embed(images).cpu().numpy())
        return np.concatenate(parts).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class _Tower:
    """A vision transformer of the hub: where it is, its class, and how its images were scaled."""

    source: str
    kind: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


_TOWERS = {
    "clip_vit_b16": _Tower(
        "openai/clip-vit-base-patch16",
        "CLIPVisionModel",
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
    "siglip_b16": _Tower(
        "google/siglip-base-patch16-224", "SiglipVisionModel", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    ),
}


def encoder_fingerprint(name: str, pretrained: str = "") -> dict[str, str]:
    """What identifies the network of an encoder."""
    if name == EFFICIENTNET:
        return {name: weights.fingerprint(name)}
    return {name: _pretrained(name, pretrained).fingerprint()}


@functools.cache
def load_encoder(
    name: str = EFFICIENTNET,
    pretrained: str = "",
    *,
    device: "torch.device | str" = "cpu",
    dtype: "torch.dtype | None" = None,
    batch_frames: int = BATCH_FRAMES,
) -> ImageEncoder:
    """The encoder of a name, loaded once per process; on the CPU it runs on one thread.

    Batches hold frames of one clip only, so that a clip's features never depend on its neighbours.

    Args:
        name: one of `ENCODERS`.
        pretrained: hub name or folder of CLIP's or SigLIP's weights; empty takes the published
            ones.
        device: where it runs.
        dtype: of its network; None is float32.
        batch_frames: frames that go through the network at once.

    Raises MissingWeight where its weights are not here and cannot be had.
    """
    import torch

    torch.set_num_threads(1)
    if name == EFFICIENTNET:
        features, embed = _efficientnet(device, dtype)
    else:
        features, embed = _tower(name, pretrained, device, dtype)
    return ImageEncoder(name, features, batch_frames, embed)


_Embedding = tuple[int, "Callable[[torch.Tensor], torch.Tensor]"]


def _efficientnet(device: "torch.device | str", dtype: "torch.dtype | None") -> _Embedding:
    import torch

    from models.efficientnet import FEATURES, build_efficientnet_lite0, embed

    state = torch.load(weights.locate(EFFICIENTNET), map_location="cpu", weights_only=True)
    # nn.Module.to takes memory_format too, but its stubs do not say so.
    model: Any = build_efficientnet_lite0(state)
    model = model.to(device, dtype or torch.float32).to(memory_format=torch.channels_last)
    return FEATURES, functools.partial(embed, model)


def _tower(
    name: str, pretrained: str, device: "torch.device | str", dtype: "torch.dtype | None"
) -> _Embedding:
    import torch

    from models.image_tower import ImageTower

    tower = _TOWERS[name]
    vision = _pretrained(name, pretrained).load(library_class("transformers", tower.kind))
    network = ImageTower(
        vision.to(dtype or torch.float32),
        pixels=vision.config.image_size,
        features=vision.config.hidden_size,
        mean=tower.mean,
        deviation=tower.deviation,
    ).to(device)
    return network.features, network.embed


def _pretrained(name: str, pretrained: str) -> Pretrained:
    return Pretrained(pretrained or _TOWERS[name].source, "", TRANSFORMERS_FILE, _SETTING)
