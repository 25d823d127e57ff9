"""How long strikes ring, against tones of known decay and the staged world's own sounds."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.decay import decay_s
from tasks.hear import strike_pitch_hz
from tasks.held_out import Strike, facts_of
from tasks.scores import rank_correlation
from tasks.world_clip import mix_tracks, truth_of
from tasks.world_plan import WorldConfig, plan_clip

Sound = NDArray[np.float32]


def struck(strikes: list[tuple[float, float, float]], duration_s: float = 3.0) -> Sound:
    """Tones (T,) at times, of pitches, that fall by 60 dB in some time, over a faint noise."""
    seconds = np.arange(round(duration_s * AUDIO_HZ)) / AUDIO_HZ
    sound = np.random.default_rng(0).standard_normal(len(seconds)) * 1e-4
    for time_s, pitch_hz, t60_s in strikes:
        after = np.maximum(seconds - time_s, 0)
        tone = np.sin(2 * math.pi * pitch_hz * after) * np.exp(-math.log(1000) / t60_s * after)
        sound += 0.3 * (seconds >= time_s) * tone
    return sound.astype(np.float32)


@pytest.mark.parametrize("t60_s", [0.07, 0.16, 0.6, 1.4])
def test_the_time_of_60_db_is_found_from_long_and_short_falls(t60_s: float) -> None:
    sound = struck([(0.5, 700.0, t60_s)])
    for free_s in (1.5, 0.12):
        found = decay_s(sound, Strike(0.5, 700.0, free_s), 700.0)
        assert found == pytest.approx(t60_s, rel=0.1)


def test_what_rings_at_another_pitch_does_not_lengthen_a_strike() -> None:
    sound = struck([(0.2, 1900.0, 1.4), (1.0, 600.0, 0.16)])
    assert decay_s(sound, Strike(1.0, 600.0, 1.5), 600.0) == pytest.approx(0.16, rel=0.1)


def test_the_end_of_a_sound_is_no_fall() -> None:
    sound = struck([(2.9, 700.0, 1.4)])
    assert decay_s(sound, Strike(2.9, 700.0, 1.5), 700.0) == pytest.approx(1.4, rel=0.1)


def test_the_next_strike_ends_what_is_followed() -> None:
    sound = struck([(0.5, 700.0, 0.6), (0.8, 700.0, 0.6)])
    assert decay_s(sound, Strike(0.5, 700.0, 0.3), 700.0) == pytest.approx(0.6, rel=0.1)


def test_nothing_rings_in_silence_and_a_tone_that_stays_rings_longest() -> None:
    strike = Strike(0.5, 700.0, 1.5)
    assert decay_s(np.zeros(AUDIO_HZ, np.float32), strike, 700.0) == 0.0
    seconds = np.arange(2 * AUDIO_HZ) / AUDIO_HZ
    assert decay_s(struck([(2.99, 700.0, 0.6)]), replace(strike, time_s=2.99), 700.0) == 0.0
    stays = (np.sin(2 * math.pi * 700 * seconds) * (seconds > 0.5)).astype(np.float32)
    assert decay_s(stays, strike, 700.0) == 10.0


def test_the_worlds_own_sounds_ring_as_their_materials_say() -> None:
    config = WorldConfig(voices=("espeak:en-us",), seed=3)
    pairs = []
    for plan in (plan_clip(config, number) for number in range(60)):
        if plan.kind != "sound":
            continue
        tracks = mix_tracks(plan, None, config)
        events = truth_of(plan, None, tracks, config)["events"]
        item = {
            "item_id": "a", "task": "v2s", "split": "test", "mixture": None, "words": None,
            "text": None, "sound_start_s": 0.0, "sound_end_s": config.seconds,
            "true_kind": "sound", "events": events,
        }  # fmt: skip
        audio16 = (tracks.mix.reshape(-1, 3).mean(axis=1) / 32_768).astype(np.float32)
        pairs += [
            (one.t60_s, decay_s(audio16, one, strike_pitch_hz(audio16, one.time_s)))
            for one in facts_of(item).strikes
        ]
    true_s, heard_s = np.array(pairs).T
    assert len(pairs) > 30 and len(set(true_s)) > 4
    assert rank_correlation(true_s, heard_s) > 0.9
    assert np.median(np.abs(np.log(heard_s / true_s))) < 0.05
