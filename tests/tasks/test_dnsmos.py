"""DNSMOS: its windows by counting, its opinions on real speech with known noise."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tasks.dnsmos import SAMPLE_RATE_HZ, WINDOW_SAMPLES, Dnsmos, load_dnsmos, windows_of
from tasks.weights import missing_weights


@pytest.mark.parametrize(
    ("samples", "windows"),
    [(1, 1), (16_000, 1), (WINDOW_SAMPLES, 1), (160_000, 1), (WINDOW_SAMPLES + 16_000, 2)],
)
def test_every_second_begins_a_window_that_the_sound_fills(samples: int, windows: int) -> None:
    found = windows_of(np.arange(samples, dtype=np.float32))
    assert [len(window) for window in found] == [WINDOW_SAMPLES] * windows
    assert [window[0] for window in found] == [16_000 * i for i in range(windows)]


def test_a_short_sound_is_repeated() -> None:
    (window,) = windows_of(np.array([1, 2, 3], np.float32))
    assert window[:7].tolist() == [1, 2, 3, 1, 2, 3, 1]


def test_there_is_no_opinion_of_nothing() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        windows_of(np.zeros(0, np.float32))


@pytest.fixture(scope="module")
def dnsmos() -> Dnsmos:
    """The network, or a skip that says what is missing."""
    if missing := [str(error) for error in missing_weights() if "dnsmos" in str(error)]:
        pytest.skip(missing[0])
    return load_dnsmos()


def read_line(corpus: Path, name: str) -> NDArray[np.float32]:
    """A line of LibriVox (T,) at 16 kHz."""
    line, rate_hz = soundfile.read(corpus / f"librivox/{name}.wav", dtype="float32")
    assert rate_hz == SAMPLE_RATE_HZ
    return np.asarray(line, np.float32)


@pytest.mark.weights
def test_a_read_line_has_the_score_of_the_authors_script(demo_corpus: Path, dnsmos: Dnsmos) -> None:
    """`speechmos.dnsmos.run` says 3.242, 3.602 and 3.924 of this line, 2.793 … of the next."""
    line = read_line(demo_corpus, "0870")
    assert dnsmos.opinion(line) == pytest.approx((3.242, 3.602, 3.924), abs=0.02)
    line = read_line(demo_corpus, "0890")
    assert dnsmos.opinion(line) == pytest.approx((2.793, 3.476, 3.170), abs=0.02)


@pytest.mark.weights
def test_noise_lowers_the_opinion_step_by_step(demo_corpus: Path, dnsmos: Dnsmos) -> None:
    line = read_line(demo_corpus, "0870")
    noise = np.random.default_rng(0).standard_normal(len(line)).astype(np.float32)
    noise *= np.sqrt(np.mean(line**2))
    clean, *noisy = (
        dnsmos.opinion(line + share * noise) for share in (0.0, 0.1, 10 ** (-10 / 20), 1.0)
    )
    overall = [clean.overall, *(opinion.overall for opinion in noisy)]
    assert overall == sorted(overall, reverse=True)
    assert overall[0] - overall[-1] > 1.3
    assert noisy[1].background < clean.background - 1.5
    assert noisy[1].signal > noisy[1].overall, "noise spoils the background, not the voice"
