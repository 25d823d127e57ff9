import hashlib
import io
import math
import random

import numpy as np
import pytest
import soundfile

from storage.rejects import Rejected
from tasks.mix import require_levels
from tasks.mix_plan import MixConfig, plan_recipe
from tasks.mix_render import coloured, flac_bytes, render
from tests.made_mixtures import RATE_HZ, item, noise

PLAIN = MixConfig(colour_probability=0.0)


def sine(frequency_hz, amplitude, seconds):
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * math.pi * frequency_hz * times)).astype(np.float32)[None]


def asking(snr_db, **changes):
    return plan_recipe(item(**changes), PLAIN) | {"requested_snr_db": snr_db}


def test_mixing_at_10_db_gives_10_db_measured_snr():
    rendered = render(asking(10.0), sine(400, 0.3, 4.0), sine(3000, 0.02, 8.0))
    assert rendered.measures.achieved_snr_db == pytest.approx(10.0, abs=0.01)
    # Independent of the renderer: the two tones of the mix by their Fourier lines, over 1 s that
    # is speech throughout and holds whole periods of both.
    middle = rendered.mix[0, 9_600:25_600].astype(np.float64)
    lines = np.abs(np.fft.rfft(middle))
    assert 20 * math.log10(lines[400] / lines[3000]) == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 7.3, 20.0])
def test_the_snr_holds_for_noise_that_is_looped_and_for_coloured_speech(snr_db):
    config = MixConfig(colour_probability=1.0)
    recipe = plan_recipe(item(ambience_end_s=1.5), config) | {"requested_snr_db": snr_db}
    assert recipe["ambience"]["loop_s"] is not None and recipe["speech"]["colour"] is not None
    rendered = render(recipe, noise(1, 4.0), noise(2, 1.5))
    require_levels(rendered.measures, recipe, config)
    assert rendered.measures.achieved_snr_db == pytest.approx(snr_db, abs=0.1)


def test_a_mix_has_the_loudness_and_the_true_peak_that_were_asked():
    rendered = render(asking(5.0), noise(1, 4.0), noise(2, 8.0))
    assert rendered.mix.shape == (1, 64_000)
    assert rendered.measures.loudness_lufs == pytest.approx(-27.0, abs=0.05)
    assert rendered.measures.true_peak_dbtp <= -2.0


def test_a_mix_with_clicks_is_held_under_the_true_peak_limit():
    speech = noise(1, 4.0, 0.001)
    speech[0, 12_000::4_000] = 0.9
    config = MixConfig(colour_probability=0.0, loudness_tolerance_lu=0.1)
    recipe = asking(5.0)
    rendered = render(recipe, speech, noise(2, 8.0))
    assert rendered.measures.true_peak_dbtp <= -2.0
    assert rendered.measures.true_peak_dbtp == pytest.approx(-2.0, abs=0.1)
    with pytest.raises(Rejected, match="loudness"):
        require_levels(rendered.measures, recipe, config)


def test_stored_stems_sum_to_the_stored_mix():
    rendered = render(asking(3.0), noise(1, 4.0), noise(2, 8.0))
    stored = [
        soundfile.read(io.BytesIO(flac_bytes(audio, RATE_HZ)), dtype="float64")[0]
        for audio in (rendered.mix, rendered.speech_stem, rendered.ambience_stem)
    ]
    assert np.abs(stored[0] - stored[1] - stored[2]).max() <= 1e-4
    assert rendered.measures.sum_error == 0.0
    assert np.array_equal(stored[0].astype(np.float32), rendered.mix[0])


def test_the_ends_are_faded_and_no_joint_of_a_loop_clicks():
    recipe = asking(0.0, ambience_end_s=1.5)
    rendered = render(recipe, noise(1, 4.0), sine(150, 0.1, 1.5))
    bed = rendered.ambience_stem[0]
    assert abs(bed[0]) < 0.01 and abs(bed[-1]) < 0.01
    crest = np.abs(bed).max()
    assert np.abs(np.diff(bed)).max() <= 2 * crest * 2 * math.pi * 150 / RATE_HZ


def test_the_same_recipe_gives_the_same_bytes_whatever_the_order_and_the_global_generators():
    config = MixConfig(colour_probability=1.0)
    recipes = [plan_recipe(item(take=take), config) for take in range(3)]
    speech, ambience = noise(1, 4.0), noise(2, 8.0)

    def digests(order):
        return {
            index: hashlib.sha256(
                flac_bytes(render(recipes[index], speech, ambience).mix, RATE_HZ)
            ).hexdigest()
            for index in order
        }

    forwards = digests([0, 1, 2])
    assert len(set(forwards.values())) == 3
    np.random.seed(99)
    random.seed(99)
    assert digests([2, 0, 1]) == forwards
    after = np.random.random(), random.random()
    np.random.seed(99)
    random.seed(99)
    assert (np.random.random(), random.random()) == after


def test_colour_changes_the_balance_of_bands_as_its_parameters_say():
    bands = [{"kind": "peaking", "centre_hz": 1000.0, "gain_db": 0.0, "q": 1.0} for _ in range(7)]
    tone = sine(1000, 0.1, 1.0)
    bands[4] = {"kind": "peaking", "centre_hz": 1000.0, "gain_db": 6.0, "q": 1.0}
    louder = coloured(tone, RATE_HZ, bands)[0, 8_000:]
    assert 20 * math.log10(louder.max() / 0.1) == pytest.approx(6.0, abs=0.05)


@pytest.mark.parametrize(
    ("speech", "ambience", "spans", "reason"),
    [
        (1.0, 0.0, [(0.5, 1.0)], "level_off"),
        (0.0, 1.0, [(0.5, 1.0)], "level_off"),
        (1.0, 1e-7, [(0.5, 1.0)], "level_off"),
        (1.0, 1.0, [(9.0, 9.5)], "no_speech"),
    ],
)
def test_what_cannot_reach_its_level_is_rejected_with_a_reason(speech, ambience, spans, reason):
    recipe = asking(0.0, speech_spans=[{"start_s": a, "end_s": b} for a, b in spans])
    with pytest.raises(Rejected) as caught:
        render(recipe, speech * noise(1, 4.0), ambience * noise(2, 8.0))
    assert caught.value.reason == reason


def test_a_level_further_off_than_the_tolerance_is_rejected():
    recipe = asking(10.0)
    measures = render(recipe, noise(1, 4.0), noise(2, 8.0)).measures
    require_levels(measures, recipe, PLAIN)
    with pytest.raises(Rejected, match="SNR") as caught:
        require_levels(measures, recipe | {"requested_snr_db": 10.6}, PLAIN)
    assert caught.value.reason == "level_off"
