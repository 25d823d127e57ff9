"""A delayed picture, and how far onsets are moved in sounds whose delay was put in."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.shifted import delayed_sample, onset_shift_s, shifts_s, to_shift

KNOCKS_S = (0.31, 1.12, 1.57, 2.9)


def knocks(late_s: float = 0.0, jitter_s: float = 0.0, noise: int = 0) -> NDArray[np.float32]:
    """Decaying noise (T,) at uneven times over a faint one, 4 s long."""
    rng = np.random.default_rng(noise)
    seconds = np.arange(4 * AUDIO_HZ) / AUDIO_HZ
    sound = rng.standard_normal(len(seconds)) * 3e-4
    for number, time_s in enumerate(KNOCKS_S):
        after = seconds - time_s - late_s - jitter_s * (-1) ** number
        envelope = np.where(after >= 0, np.exp(-12 * np.maximum(after, 0)), 0)
        sound += 0.2 * envelope * rng.standard_normal(len(seconds))
    return sound.astype(np.float32)


def test_a_delay_is_found_though_the_sounds_differ_and_their_times_tremble() -> None:
    for late_s in (0.4, 0.0, -0.23):
        found = onset_shift_s(knocks(), knocks(late_s, jitter_s=0.015, noise=1))
        assert found == pytest.approx(late_s, abs=0.02)


def test_a_sound_that_stays_is_not_shifted_and_the_recording_made_late_is() -> None:
    found = shifts_s(knocks(), knocks(noise=1), knocks(noise=2))
    assert found["score"] == pytest.approx(0.0, abs=0.01)
    assert found["truth"] == pytest.approx(0.4, abs=0.01)


def test_silence_follows_nothing() -> None:
    assert onset_shift_s(knocks(), np.zeros(4 * AUDIO_HZ, np.float32)) == 0.0


def test_all_that_is_seen_is_late_and_all_that_is_said_is_not() -> None:
    at_25_hz = np.arange(100, dtype=np.float32)[:, None]
    sample: dict[str, Any] = {
        "latents": at_25_hz, "phonemes": np.arange(100), "motion": at_25_hz, "lips": at_25_hz,
        "visual": np.arange(40, dtype=np.float32)[:, None], "sync": None,
    }  # fmt: skip
    late = delayed_sample(sample)
    for name, rows in (("motion", 10), ("lips", 10), ("visual", 4)):
        assert len(late[name]) == len(sample[name])
        assert (late[name][:rows] == sample[name][0]).all()
        assert np.array_equal(late[name][rows:], sample[name][:-rows])
    assert late["latents"] is sample["latents"] and late["phonemes"] is sample["phonemes"]
    assert late["sync"] is None


def test_pictures_are_delayed_where_sharp_onsets_stay_and_nobody_speaks() -> None:
    def row(item_id: str, event_s: float | None, **values: Any) -> dict[str, Any]:
        hit = {"kind": "impact", "start_s": event_s, "end_s": event_s, "heard": True}
        made = {
            "item_id": item_id, "task": "v2s", "split": "test", "duration_s": 5.0, "words": None,
            "text": None, "mixture": None, "sound_start_s": 0.0, "sound_end_s": 5.0,
            "true_kind": "sound", "events": [hit | {"pitch_hz": None}] if event_s else [],
        }  # fmt: skip
        return made | values

    rows = [
        row("leaves", 4.7), row("told", 1.0, text="a dog", task="mixture"), row("still", None),
        row("blind", 1.0), row("short", 0.5, duration_s=1.5),
        row("a", 1.0), row("b", 2.0), row("c", 1.0, split="validation"),
    ]  # fmt: skip
    picture = {"visual": np.zeros((50, 2), np.float32), "motion": None}
    samples = {one["item_id"]: picture for one in rows} | {"blind": {"visual": None}}
    assert to_shift(rows, samples, 9) == {"a", "b", "c"}
    assert to_shift(rows, samples, 1) == {"a", "c"}
    assert to_shift(rows, samples, 0) == set()
