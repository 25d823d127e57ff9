"""The gain of an ambience that gives way to speech, as a curve in time.

Audio is float32, shape (C, T): C channels, T samples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import count

CONTROL_HZ = 1000


def ducking_curve_db(
    spans_s: Sequence[tuple[float, float]],
    duration_s: float,
    ducking: dict[str, Any],
    rate_hz: int = CONTROL_HZ,
) -> NDArray[np.float64]:
    """The gain in dB at each of `count(duration_s, rate_hz) + 1` even times.

    It falls evenly in dB over `attack_s` before a span of speech, so that it is down by `depth_db`
    when the speech begins, and rises over `release_s` after it. Where spans follow each other
    closely the deeper of the two curves holds.

    Args:
        spans_s: starts and ends of speech in seconds of the mixture.
        duration_s: length of the mixture.
        ducking: depth_db, attack_s and release_s of the recipe.
        rate_hz: rate of the curve.
    """
    times = np.arange(count(duration_s, rate_hz) + 1) / rate_hz
    depth = np.zeros(len(times))
    for start_s, end_s in spans_s:
        before = 1.0 - (start_s - times) / ducking["attack_s"]
        after = 1.0 - (times - end_s) / ducking["release_s"]
        depth = np.maximum(depth, np.clip(np.minimum(before, after), 0.0, 1.0))
    return -ducking["depth_db"] * depth


def ducked(audio: NDArray[np.float32], rate_hz: int, curve_db: NDArray[Any]) -> NDArray[np.float32]:
    """Sound (C, T) under a curve of gains at CONTROL_HZ, drawn straight between its points."""
    step = rate_hz // CONTROL_HZ
    gains = (10.0 ** (curve_db / 20.0)).astype(np.float32)
    inner = np.arange(step, dtype=np.float32) / np.float32(step)
    sloped = gains[:-1, None] + (gains[1:] - gains[:-1])[:, None] * inner
    samples = audio.shape[1]
    whole = sloped.reshape(-1)
    held = np.full(max(0, samples - len(whole)), gains[-1], np.float32)
    return audio * np.concatenate([whole[:samples], held])
