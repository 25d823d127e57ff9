"""The encoders of whole clips by name: Synchformer and coarse pixels, AV-HuBERT on mouths.

All give one row a frame of the 25 Hz grid. The networks' weights are published under licences of
their own and are had by path; pixels have none.

Legend: F frames at 25 fps, H height, W width, D channels.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.pixels import FINE_GRID, GRID
from tasks.state_dicts import StateFile

if TYPE_CHECKING:
    import torch

SyncName = Literal["none", "pixels", "fine_pixels", "colour_pixels", "synchformer"]
LipsName = Literal["none", "av_hubert", "mouth_track"]
Device = Literal["cpu", "cuda"]
GPU_SEGMENTS = 10
"""Segments of 16 frames that go through Synchformer at once on a GPU."""
NONE, AV_HUBERT, MOUTH_TRACK = "none", "av_hubert", "mouth_track"
PIXELS, FINE_PIXELS, COLOUR_PIXELS = "pixels", "fine_pixels", "colour_pixels"
SYNCHFORMER = "synchformer"
PIXEL_GRIDS: dict[SyncName, int] = {
    PIXELS: GRID,
    FINE_PIXELS: FINE_GRID,
    COLOUR_PIXELS: FINE_GRID,
}
"""Cells per side of what is the coarse picture itself."""
OF_COLOUR: tuple[SyncName, ...] = (COLOUR_PIXELS, SYNCHFORMER)
"""What reads colour frames at 25 fps, which the decode pass then keeps."""
SYNC_ENCODERS = tuple(name for name in get_args(SyncName) if name != NONE)
LIP_ENCODERS = tuple(name for name in get_args(LipsName) if name != NONE)


@dataclass(frozen=True, slots=True, eq=False)
class ClipEncoder:
    """Features (F, D), float32, of the frames of a whole clip, uint8, at 25 fps.

    Attributes:
        extractor: what its features are called.
        features: D.
    """

    extractor: str
    features: int
    _embed: "Callable[[torch.Tensor], torch.Tensor]"

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (F, D) of RGB (F, H, W, 3) or gray frames (F, H, W); none give none."""
        import torch

        if not len(frames):
            return np.zeros((0, self.features), np.float32)
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(frames))
            if given.ndim == 4:
                given = given.permute(0, 3, 1, 2)
            return self._embed(given).cpu().numpy()


def require_use(setting: str, name: str, weights: str, needs: str) -> None:
    """Raises ValueError for weights of an encoder that is not asked for."""
    if weights and name != needs:
        raise ValueError(
            f"{setting}_weights={weights!r} with {setting}={name!r}: they are those of {needs}; "
            f"set {setting}: {needs}, or leave them out"
        )


def synchformer_file(path: str) -> StateFile:
    """Where Synchformer's weights are: with both branches, or the visual one alone."""
    return StateFile(
        path,
        "look.sync_weights",
        "Synchformer's visual branch",
        "synchformer_state_dict.pth",
        "github.com/hkchengrex/MMAudio (release v0.1; MIT)",
    )


def av_hubert_file(path: str) -> StateFile:
    """Where AV-HuBERT's weights are: base or large, pretrained or fine-tuned."""
    return StateFile(
        path,
        "faces.lips_weights",
        "AV-HuBERT",
        "self_large_vox_433h.pt (or another checkpoint, as .safetensors)",
        "facebookresearch.github.io/av_hubert (licence of its own, research only)",
    )


@functools.cache
def load_sync_encoder(weights: str, device: Device = "cpu") -> ClipEncoder:
    """Synchformer's visual branch, loaded once per process; on the CPU it runs on one thread.

    Raises MissingWeight where its file is not there, and ValueError for weights of another network
    and for a device that is not here.
    """
    from models.synchformer import build_synchformer

    model = _built(build_synchformer, synchformer_file(weights), device)
    segments = GPU_SEGMENTS if device == "cuda" else 1
    embed = functools.partial(model.embed, batch_segments=segments)
    return ClipEncoder(SYNCHFORMER, model.config.width, embed)


@functools.cache
def load_lip_encoder(weights: str, device: Device = "cpu") -> ClipEncoder:
    """AV-HuBERT's visual branch, loaded once per process; as `load_sync_encoder`."""
    from models.av_hubert import build_av_hubert

    model = _built(build_av_hubert, av_hubert_file(weights), device)
    return ClipEncoder(AV_HUBERT, model.config.width, model.embed)


def _built(
    build: "Callable[[dict[str, torch.Tensor]], Any]", file: StateFile, device: Device
) -> Any:
    import torch

    torch.set_num_threads(1)
    if device == "cuda" and not torch.cuda.is_available():
        setting = file.setting.replace("_weights", "_device")
        raise ValueError(f"{setting}='cuda': torch finds no GPU on this machine; set it to cpu")
    state = file.load()
    try:
        return build(state).to(device)
    except ValueError as error:
        raise ValueError(f"{file.setting}={file.path!r}: {error}") from error
