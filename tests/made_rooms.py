"""Impulse responses whose truth is known, for tests."""

import numpy as np

from models.timeline import AUDIO48_HZ


def decay(t60: float, seconds: float = 1.0, seed: int = 1) -> np.ndarray:
    """A direct sound of 1 and noise of constant decay, float64 (T,) at 48 kHz."""
    samples = round(seconds * AUDIO48_HZ)
    level = 10 ** (-3 * np.arange(samples) / AUDIO48_HZ / t60)
    made = 0.02 * level * np.random.default_rng(seed).standard_normal(samples)
    made[0] = 1.0
    return made
