"""What is heard in sounds that were made to be heard so."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.hear import hear, noise_as_loud, strike_pitch_hz, words_in
from tasks.held_out import Strike


def struck(strikes: list[tuple[float, float]], duration_s: float = 3.0) -> NDArray[np.float32]:
    """Decaying tones (T,) at times and pitches over a faint noise."""
    seconds = np.arange(round(duration_s * AUDIO_HZ)) / AUDIO_HZ
    sound = np.random.default_rng(0).standard_normal(len(seconds)) * 3e-4
    for time_s, pitch_hz in strikes:
        after = np.maximum(seconds - time_s, 0)
        tone = np.sin(2 * math.pi * pitch_hz * after) * np.exp(-9 * after)
        sound += 0.3 * (seconds >= time_s) * tone
    return sound.astype(np.float32)


def test_the_pitch_of_a_strike_is_found_while_an_earlier_one_rings_on() -> None:
    strikes = [(0.5, 440.0), (0.9, 1330.0), (1.2, 785.0), (2.95, 300.0)]
    sound = struck(strikes)
    for time_s, pitch_hz in strikes[:3]:
        assert strike_pitch_hz(sound, time_s) == pytest.approx(pitch_hz, abs=4)
    # At the end of the sound there are 50 ms to tell it from.
    assert strike_pitch_hz(sound, 2.95) == pytest.approx(300, abs=12)
    assert 60 <= strike_pitch_hz(sound, 3.4) <= 7000


def test_noise_as_loud_has_the_power_of_the_sound_and_is_the_same_each_time() -> None:
    sound = struck([(0.1, 500.0)])
    noise = noise_as_loud(sound, 7)
    assert np.mean(noise**2) == pytest.approx(np.mean(sound**2), rel=0.03)
    assert np.array_equal(noise, noise_as_loud(sound, 7))
    assert not np.array_equal(noise, noise_as_loud(sound, 8))


@pytest.mark.parametrize(("ratios", "words"), [((0.9, 2.4), "the dog"), ((0.9, 11.8), "a dog sat")])
def test_words_that_repeat_themselves_are_asked_for_again_without_timestamps(
    monkeypatch: pytest.MonkeyPatch, ratios: tuple[float, float], words: str
) -> None:
    said = {False: ("The", " dog."), True: ("A dog", " sat.")}

    def transcribe(_: NDArray[np.float32], *, without_timestamps: bool, **__: Any) -> Any:
        pieces = zip(said[without_timestamps], ratios, strict=True)
        return (SimpleNamespace(text=text, compression_ratio=ratio) for text, ratio in pieces), None

    model = SimpleNamespace(model=SimpleNamespace(transcribe=transcribe))
    monkeypatch.setattr("tasks.hear.load_whisper", lambda *_: model)
    assert words_in(np.zeros(AUDIO_HZ, np.float32), "base") == tuple(words.split())


@pytest.mark.weights
def test_knocks_are_heard_as_knocks_and_silence_as_nothing() -> None:
    found = hear(struck([(0.5, 440.0), (1.5, 785.0)]), strikes=[Strike(1.5, 785.0)])
    assert found.onsets_s == pytest.approx((0.5, 1.5), abs=0.01)
    assert found.pitches_hz == pytest.approx((785.0,), abs=4)
    assert found.is_audible and not found.has_speech
    assert found.words is None and found.dnsmos is None
    assert found.logits.shape[1] == 521
    silence = hear(np.zeros(AUDIO_HZ, np.float32), opinion=True)
    assert not silence.is_audible and silence.loudness_lufs == -70
    assert silence.dnsmos is not None and 0 < silence.dnsmos < 5
