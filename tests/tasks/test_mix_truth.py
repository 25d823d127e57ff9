"""A hundred rendered files, measured by code that shares nothing with the renderer."""

import io
import math

import av
import numpy as np
import pytest

from tasks.mix_plan import plan_recipe
from tasks.mix_render import flac_bytes, render
from tests.made_meter import band_energy, ebur128
from tests.made_mixtures import RATE_HZ, item, only

BORDER_HZ = 1_500.0


def tones(seed, seconds, low_hz, high_hz):
    """Twelve tones within a band, (1, samples): what one parent has and the other has not."""
    drawn = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    waves = [
        drawn.uniform(0.2, 1) * np.sin(2 * math.pi * (hz * times + drawn.random()))
        for hz in drawn.uniform(low_hz, high_hz, 12)
    ]
    return (0.02 * np.sum(waves, axis=0)).astype(np.float32)[None]


def decoded(data):
    """A FLAC file as libav reads it, float32 (1, samples)."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1).astype(np.float32) / 32_768


def rendered_files(regime, take, **changes):
    """The recipe and the files of mix, speech and ambience, read back."""
    config = only(regime, speech_devices={"colour": 0.5}, **changes)
    room = {"room_id": "r", "room_ref": "blobs/aa/bb.flac", "t60_s": 0.3}
    spans = [{"start_s": 0.3, "end_s": 1.5}, {"start_s": 1.8, "end_s": 3.9}]
    made = item(take=take, speech_spans=spans, ambience_end_s=3.0 + take % 5, **room)
    recipe = plan_recipe(made, config)
    response = np.zeros(2_400, np.float32)
    response[[0, 700, 2_000]] = 1.0, 0.4, -0.2
    done = render(
        recipe, tones(take, 4.0, 200, 1_200), tones(99 + take, 8.0, 2_500, 6_000), response
    )
    stems = (done.mix, done.speech_stem, done.ambience_stem)
    return recipe, [decoded(flac_bytes(audio, RATE_HZ)) for audio in stems]


def active(recipe):
    """Samples of the 30 ms frames of which speech fills at least half, by the words of the rule."""
    chosen = np.zeros(round(recipe["duration_s"] * RATE_HZ), bool)
    spans = [
        [a + recipe["speech"]["at_s"], b + recipe["speech"]["at_s"]]
        for a, b in recipe["speech"]["spans_s"]
    ]
    for frame in range(math.ceil(len(chosen) / 480)):
        start_s, end_s = frame * 0.03, frame * 0.03 + 0.03
        spoken_s = sum(max(0.0, min(end_s, b) - max(start_s, a)) for a, b in spans)
        chosen[frame * 480 : frame * 480 + 480] = spoken_s >= 0.015 - 1e-9
    return chosen


@pytest.mark.parametrize("regime", ["location", "hard"])
def test_the_snr_of_rendered_files_is_the_one_that_was_asked(regime):
    off_db = []
    for take in range(35):
        recipe, (mix, _, _) = rendered_files(regime, take)
        heard = mix[0, active(recipe)]
        speech = band_energy(heard, RATE_HZ, 0, BORDER_HZ)
        ambience = band_energy(heard, RATE_HZ, BORDER_HZ, RATE_HZ)
        off_db.append(10 * math.log10(speech / ambience) - recipe["requested"]["snr_db"])
    assert np.percentile(np.abs(off_db), 95) <= 0.1 and np.abs(off_db).max() <= 0.5


def test_the_loudness_of_rendered_files_is_the_one_that_was_asked():
    off_lu, master_lu, peaks_dbtp = [], [], []
    for take in range(30):
        recipe, files = rendered_files("broadcast", take)
        (mix_lufs, peak_dbtp), (speech_lufs, _), (ambience_lufs, _) = (
            ebur128(audio, RATE_HZ) for audio in files
        )
        asked = recipe["requested"]["loudness_difference_lu"]
        off_lu.append(speech_lufs - ambience_lufs - asked)
        master_lu.append(mix_lufs - recipe["master"]["loudness_lufs"])
        peaks_dbtp.append(peak_dbtp)
        assert np.abs(files[0] - files[1] - files[2]).max() <= 1e-4
    assert np.percentile(np.abs(off_lu), 95) <= 0.1 and np.abs(off_lu).max() <= 0.5
    assert np.abs(master_lu).max() <= 0.1 and max(peaks_dbtp) <= -2.0
