"""What the learned codec is trained on: the distance of its magnitudes from a recording's.

Legend: B batch, M frames, K frequency bins.
"""

import math

from torch import Tensor

AUDIBLE = 3e-5
"""Magnitudes below count as this; a full-scale sine reads 0.5. It lies 10 dB below what
`multi_resolution_stft_db` counts."""
COMPRESSION = 0.3
"""Power of magnitudes whose difference weighs loud bins more, as the ear does."""
_LOUD_WEIGHT = 5.0


def magnitude_loss(log_magnitudes: Tensor, spectrum: Tensor, window_sum: float) -> Tensor:
    """The distance of log magnitudes (B, M, K) from those of a complex spectrum (B, M, K).

    Both are divided by the window's sum. One part is in the logarithm, where quiet bins count as
    much as loud ones; the other in the compressed magnitude, where loud ones count more.
    """
    ours = log_magnitudes - math.log(window_sum)
    theirs = (spectrum.abs() / window_sum).clamp_min(1e-7).log()
    floor = math.log(AUDIBLE)
    even = (ours.clamp_min(floor) - theirs.clamp_min(floor)).abs().mean()
    loud = (_compressed(ours) - _compressed(theirs)).abs().mean()
    return even + _LOUD_WEIGHT * loud


def _compressed(log_magnitudes: Tensor) -> Tensor:
    return (COMPRESSION * log_magnitudes).clamp_max(3).exp()
