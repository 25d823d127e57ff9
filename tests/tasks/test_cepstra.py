"""Mel-cepstral distance against closed forms, and warped paths against trying all of them."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.cepstra import COEFFICIENTS, cheapest_path, mel_cepstra, warped_distance_db

COSTS = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31)).map(
    lambda drawn: np.random.default_rng(drawn[2]).integers(0, 9, drawn[:2]).astype(np.float64)
)


def vowels(notes: list[tuple[float, float]]) -> NDArray[np.float32]:
    """Harmonics of 120 Hz (T,), in turn with a formant at a frequency for some seconds."""
    parts = []
    for formant_hz, length_s in notes:
        seconds = np.arange(round(length_s * AUDIO_HZ)) / AUDIO_HZ
        hz = 120 * np.arange(1, 40)
        weights = np.exp(-np.square((hz - formant_hz) / 500)) + 0.01
        parts.append(np.sin(2 * math.pi * hz[:, None] * seconds).T @ weights)
    return (0.02 * np.concatenate(parts)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(COSTS)
def test_the_cheapest_path_is_that_of_all_paths(cost: NDArray[np.float64]) -> None:
    @cache
    def least(row: int, column: int) -> float:
        if not row and not column:
            return cost[0, 0]
        before = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        return cost[row, column] + min(least(r, c) for r, c in before if min(r, c) >= 0)

    total, steps = cheapest_path(cost)
    rows, columns = cost.shape
    assert total == least(rows - 1, columns - 1)
    assert max(rows, columns) <= steps <= rows + columns - 1


def test_a_path_counts_its_cells() -> None:
    cost = np.array([[0.0, 9.0, 9.0], [0.0, 9.0, 9.0], [9.0, 0.0, 1.0]])
    assert cheapest_path(cost) == (1.0, 4)


def test_the_distance_is_that_of_the_spectra_in_db() -> None:
    """A ripple A cos(3 w) in ln |H| has an RMS of A / sqrt 2, which is 20 / ln 10 dB a neper."""
    first = np.zeros((5, COEFFICIENTS))
    second = first.copy()
    second[:, 2] = 0.7
    assert warped_distance_db(first, second) == pytest.approx(
        20 / math.log(10) * 0.7 / math.sqrt(2)
    )


def test_level_speed_and_pauses_are_no_distance_and_another_sound_is() -> None:
    true = vowels([(500, 0.4), (2000, 0.4), (900, 0.4)])
    cepstra = mel_cepstra(true)
    assert warped_distance_db(cepstra, cepstra) < 1e-5
    assert warped_distance_db(mel_cepstra(true * np.float32(0.1)), cepstra) < 1e-3
    pause = np.zeros(AUDIO_HZ // 2, np.float32)
    assert warped_distance_db(mel_cepstra(np.concatenate([pause, true, pause])), cepstra) < 0.5
    slower = warped_distance_db(mel_cepstra(vowels([(500, 0.6), (2000, 0.3), (900, 0.7)])), cepstra)
    other = warped_distance_db(mel_cepstra(vowels([(2000, 0.4), (500, 0.4), (2000, 0.4)])), cepstra)
    assert slower < 1.0 < 5.0 < other


def test_silence_and_sounds_shorter_than_a_frame_have_cepstra() -> None:
    flat = mel_cepstra(np.zeros(AUDIO_HZ, np.float32))
    assert np.abs(flat).max() < 1e-9
    short = mel_cepstra(np.ones(10, np.float32))
    assert np.isfinite(warped_distance_db(flat, short))
