"""Lips against loudness, with mouths and voices that were made to agree or not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, MOTION_FPS
from storage.features import pack_features
from storage.workspace import Workspace
from tasks.lip_envelope import lips_agreement, loudness_curve, mouth_of, with_mouth_refs
from tasks.sync import MOUTH_LEAD_S

SECONDS = 4.0


def opening(times_s: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """An opening (N,) from 0 to 1 that moves as a mouth does, at some times."""
    rng = np.random.default_rng(seed)
    waves = [
        np.sin(2 * np.pi * hz * times_s + phase)
        for hz, phase in zip(rng.uniform(1.5, 4.5, 5), rng.uniform(0, 6.3, 5), strict=True)
    ]
    return 0.5 + 0.5 * np.sum(waves, axis=0) / 5


def mouth(seed: int = 0) -> NDArray[np.float32]:
    times_s = np.arange(int(SECONDS * MOTION_FPS)) / MOTION_FPS
    return np.stack([0.3 * opening(times_s, seed), np.ones(len(times_s))], 1).astype(np.float32)


def voice(seed: int = 0, late_s: float = MOUTH_LEAD_S) -> NDArray[np.float32]:
    """Noise (T,) as loud as a mouth is open, so much after it."""
    times_s = np.arange(int(SECONDS * AUDIO_HZ)) / AUDIO_HZ
    noise = np.random.default_rng(9).standard_normal(len(times_s))
    return (0.1 * opening(times_s - late_s, seed) ** 4 * noise).astype(np.float32)


def test_a_voice_that_follows_its_mouth_agrees_and_one_that_is_late_or_anothers_does_not() -> None:
    own = lips_agreement(mouth(), loudness_curve(voice()))
    assert own > 0.9
    assert lips_agreement(mouth(), loudness_curve(voice(late_s=MOUTH_LEAD_S + 0.2))) < 0.5
    others = [lips_agreement(mouth(), loudness_curve(voice(seed))) for seed in range(1, 13)]
    assert abs(np.mean(others)) < 0.3
    silence = np.zeros(int(SECONDS * AUDIO_HZ), np.float32)
    assert lips_agreement(mouth(), loudness_curve(silence)) == 0.0
    assert np.isnan(lips_agreement(mouth(), loudness_curve(voice()[:AUDIO_HZ])))


def test_the_speakers_mouth_is_found_and_laid_under_its_part_of_a_mixture(tmp_path: Path) -> None:
    workspace = str(Workspace.at(tmp_path).make().root)
    both = np.stack([mouth(1), mouth(2)], axis=1)  # (F, 2 tracks, 2)
    made = {"clip_id": "talk", "extractor": "mouth", "version": 1, "_array": both}
    (feature,) = pack_features(workspace, [made])
    row: dict[str, Any] = {
        "voice_clip_id": "talk", "mouth": {"track": 1, "content_hash": feature["content_hash"]},
        "mixture": None, "picture": None, "duration_s": SECONDS,
    }  # fmt: skip
    part = {"clip_id": "talk", "at_s": 1.0, "length_s": 3.0, "offset_s": 0.0, "loop_s": None}
    mixed = row | {"mixture": {"mix_id": "m"}, "picture": [part], "duration_s": 5.0}
    hidden = mixed | {"picture": [part | {"clip_id": "other"}]}
    short = mixed | {"picture": [part | {"length_s": 1.0}]}
    unknown = row | {"mouth": None}
    rows = with_mouth_refs([row, mixed, hidden, short, unknown], [feature])
    found = [mouth_of(workspace, one) for one in rows]
    assert found[0] == pytest.approx(mouth(2), abs=1e-3)
    assert found[1] is not None and len(found[1]) == 125
    assert (found[1][:25] == 0).all() and (found[1][100:] == 0).all()
    assert found[1][25:100] == pytest.approx(mouth(2)[:75], abs=1e-3)
    assert found[2:] == [None, None, None]
    (nowhere,) = with_mouth_refs([row], None)
    assert mouth_of(workspace, nowhere) is None
