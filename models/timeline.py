"""The one place that converts between seconds and samples, mel frames, latents and video frames.

Times are float64 seconds. A rate is a number of indices per second, in hertz or frames per second.
"""

import math

AUDIO_HZ = 16_000
AUDIO48_HZ = 48_000
MEL_HZ = 100
LATENT_HZ = 25
VISUAL_FPS = 10
MOTION_FPS = 25


def index(time_s: float, rate_hz: float) -> int:
    """The index nearest to a time: ``floor(time_s * rate_hz + 0.5)``, the one rounding rule.

    Halves go up, so that equal steps of time give equal steps of index. Negative times give
    negative indices. Raises ValueError for a time that is not finite or a rate not above zero.
    """
    if not math.isfinite(time_s):
        raise ValueError(f"time_s={time_s} is not a finite number of seconds")
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz={rate_hz} is not a positive rate")
    return math.floor(time_s * rate_hz + 0.5)


def count(duration_s: float, rate_hz: float) -> int:
    """How many indices a duration holds, by the rounding rule of `index` and never below zero."""
    return max(0, index(duration_s, rate_hz))


def seconds(index: int, rate_hz: float) -> float:
    """The time of an index in seconds: ``index / rate_hz``, which `index` takes back exactly."""
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz={rate_hz} is not a positive rate")
    return index / rate_hz


def span(start_s: float, end_s: float, rate_hz: float) -> tuple[int, int]:
    """The half-open index range of ``[start_s, end_s)``, ``count(end_s - start_s)`` long.

    The length follows the duration alone, so every slice of a clip has as many rows as the clip's
    own arrays. Two spans that meet in time may therefore overlap or part by one index; where tiling
    matters more than length (phonemes on a grid) take `index` of both ends instead. Raises
    ValueError when the end lies before the start.
    """
    if end_s < start_s:
        raise ValueError(f"span from {start_s} s to {end_s} s ends before it starts")
    first = index(start_s, rate_hz)
    return first, first + count(end_s - start_s, rate_hz)
