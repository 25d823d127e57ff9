"""Generate the sound of a silent video: each window by itself, then all of them in one track.

Audio is float32 in [-1, 1] at 16 kHz.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from models.timeline import AUDIO_HZ, LATENT_HZ, VISUAL_FPS, count
from storage.features import read_feature
from storage.stage import ShardTarget
from tasks.batches import FEATURES, SPEAKER, collate
from tasks.checkpoint import Checkpoint
from tasks.loudness import true_peak_dbtp
from tasks.mix_conditions import phonemes_on_grid
from tasks.sampling import generated_latents, noise_seed
from tasks.sonify_config import SonifyConfig

if TYPE_CHECKING:
    from models.conditions import Conditions

EDGE_S = 0.015
PEAK_DBTP = -2.0


def soundtrack(
    item: dict[str, Any],
    checkpoint: Checkpoint,
    phonemes: list[dict[str, Any]],
    config: SonifyConfig,
    out: ShardTarget,
) -> np.ndarray:
    """The soundtrack (1, samples) at 16 kHz, as long as the picture; windows fade at edges."""
    audio = np.zeros((1, count(item["duration_s"], AUDIO_HZ)), dtype=np.float32)
    for number, window in enumerate(item["windows"]):
        out.report(number, len(item["windows"]), "windows")
        made = generate_window(item, window, checkpoint, phonemes, config, number)
        start = count(window["start_s"], AUDIO_HZ)
        made = made[: max(0, audio.shape[1] - start)]
        audio[0, start : start + len(made)] += _faded(made)
    return under_peak(audio)


def generate_window(
    item: dict[str, Any],
    window: dict[str, Any],
    checkpoint: Checkpoint,
    phonemes: list[dict[str, Any]],
    config: SonifyConfig,
    number: int,
) -> np.ndarray:
    """The sound (samples,) of one window of a source, with what was trimmed beside it."""
    import torch

    duration_s = window["end_s"] - window["start_s"]
    conditions = _conditions(item, window, checkpoint, phonemes, duration_s)
    seed = window_seed(config, item, number)
    with torch.inference_mode():
        latents = generated_latents(checkpoint, conditions, config.sampling, seed, "sonify")
        audio = checkpoint.codec.decode(latents)[0].numpy()
    return audio[: count(duration_s, AUDIO_HZ)]


def _conditions(
    item: dict[str, Any],
    window: dict[str, Any],
    checkpoint: Checkpoint,
    phonemes: list[dict[str, Any]],
    duration_s: float,
) -> "Conditions":
    root, clip = item["_workspace"], window["clip_id"]
    visual = read_feature(
        root, window["visual"]["shard_ref"], clip, window["visual"]["content_hash"]
    )
    start, end = window["start_s"], window["end_s"]
    inside = [
        p | {"start_s": max(0.0, p["start_s"] - start), "end_s": min(end, p["end_s"]) - start}
        for p in phonemes
        if p["start_s"] < end and p["end_s"] > start
    ]
    length = max(1, count(duration_s, LATENT_HZ))
    held_s = window["held_s"]
    sizes = checkpoint.model.config
    aligned = {
        name: _held(values, held_s, duration_s, LATENT_HZ)
        for name in ("motion", *FEATURES)
        if (values := _aligned(root, clip, window.get(name))) is not None
    }
    sample = (
        {"motion": None}
        | aligned
        | {
            "task": "",
            "latents": np.zeros((length, sizes.audio_channels), dtype=np.float32),
            "phonemes": phonemes_on_grid(inside, duration_s).astype(np.int64),
            "visual": _held(visual, held_s, duration_s, VISUAL_FPS),
            # As in training: where nothing is said, nobody says it.
            SPEAKER: item.get("_voice") if inside else None,
        }
    )
    return collate([sample], length, sizes.motion_dim, sizes.visual_dim).conditions


def _aligned(root: str, clip: str, feature: dict[str, str] | None) -> np.ndarray | None:
    """Motion, sync or lips (F, D) of a clip; None where there are none, or no face was found."""
    if feature is None or feature["shard_ref"] is None:
        return None
    values = read_feature(root, feature["shard_ref"], clip, feature["content_hash"])
    return values if len(values) else None


def _held(seen: np.ndarray, before_s: float, duration_s: float, fps: int) -> np.ndarray:
    """What is seen in a window (F, D), with its first and last frame held over what was trimmed."""
    before, frames = count(before_s, fps), max(1, count(duration_s, fps))
    after = max(0, frames - before - len(seen))
    return np.pad(seen, ((before, after), (0, 0)), mode="edge")[:frames]


def window_seed(config: SonifyConfig, item: dict[str, Any], number: int) -> int:
    """The seed of a window's noise; that of window 0 stands for the whole soundtrack."""
    return noise_seed(config.seed, item["source_id"], item["take"], number)


def _faded(audio: np.ndarray) -> np.ndarray:
    edge = min(len(audio) // 2, count(EDGE_S, AUDIO_HZ))
    ramp = np.sin(np.linspace(0, np.pi / 2, edge, endpoint=False)) ** 2
    faded = audio.copy()
    faded[:edge] *= ramp
    faded[len(audio) - edge :] *= ramp[::-1]
    return faded


def under_peak(audio: np.ndarray) -> np.ndarray:
    """The audio with one gain that holds its true peak under PEAK_DBTP; quieter audio stays."""
    peak = true_peak_dbtp(audio, AUDIO_HZ)
    if peak is None or peak <= PEAK_DBTP:
        return audio
    return audio * np.float32(10 ** ((PEAK_DBTP - peak) / 20))
