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
from tasks.mix_render import flac_bytes, render
from tests.made_mixtures import RATE_HZ, item, noise, only

PLAIN = only("location", full_length_share=0.0)


def sine(frequency_hz, amplitude, seconds):
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * math.pi * frequency_hz * times)).astype(np.float32)[None]


def asking(snr_db, config=PLAIN, **changes):
    requested = {"snr_db": snr_db, "loudness_difference_lu": None}
    return plan_recipe(item(**changes), config) | {"requested": requested}


def apart(difference_lu, config, **changes):
    requested = {"snr_db": None, "loudness_difference_lu": difference_lu}
    return plan_recipe(item(**changes), config) | {"requested": requested}


def test_mixing_at_10_db_gives_10_db_measured_snr():
    rendered = render(asking(10.0), sine(400, 0.3, 4.0), sine(3000, 0.02, 8.0))
    assert rendered.measures.achieved_snr_db == pytest.approx(10.0, abs=0.01)
    # Independent of the renderer: the two tones of the mix by their Fourier lines, over 1 s that
    # is speech throughout and holds whole periods of both.
    middle = rendered.mix[0, 9_600:25_600].astype(np.float64)
    lines = np.abs(np.fft.rfft(middle))
    assert 20 * math.log10(lines[400] / lines[3000]) == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 7.3, 20.0])
def test_the_snr_holds_for_noise_that_is_looped_and_for_speech_through_a_device(snr_db):
    config = only("location", speech_devices={"colour": 1.0})
    recipe = asking(snr_db, config, ambience_end_s=1.5)
    assert recipe["ambience"]["loop_s"] is not None
    assert [device["kind"] for device in recipe["speech"]["devices"]] == ["colour"]
    rendered = render(recipe, noise(1, 4.0), noise(2, 1.5))
    require_levels(rendered.measures, recipe, config)
    assert rendered.measures.achieved_snr_db == pytest.approx(snr_db, abs=0.1)


@pytest.mark.parametrize("difference_lu", [8.0, 15.0, 25.0])
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_a_ducked_ambience_has_the_loudness_difference_that_was_asked(difference_lu, rate_hz):
    config = only("broadcast", rate_hz=rate_hz)
    recipe = apart(difference_lu, config)
    assert recipe["ambience"]["ducking"] is not None
    speech = np.repeat(noise(1, 4.0), rate_hz // RATE_HZ, axis=1)
    bed = np.repeat(noise(2, 8.0), rate_hz // RATE_HZ, axis=1)
    rendered = render(recipe, speech, bed)
    assert rendered.measures.achieved_difference_lu == pytest.approx(difference_lu, abs=0.01)
    assert rendered.measures.loudness_lufs == pytest.approx(-27.0, abs=0.01)
    require_levels(rendered.measures, recipe, config)


def test_ducking_lowers_the_ambience_under_the_speech_by_its_depth():
    recipe = apart(12.0, only("broadcast"))
    ducking = {"depth_db": 9.0, "attack_s": 0.1, "release_s": 0.4}
    recipe["ambience"] |= {"ducking": ducking}
    recipe["speech"]["spans_s"] = [[1.0, 2.0]]
    bed = render(recipe, noise(1, 4.0), sine(500, 0.1, 8.0)).ambience_stem[0]
    under, before = bed[16_800:31_200], bed[3_200:12_800]
    ratio = np.square(before, dtype=float).mean() / np.square(under, dtype=float).mean()
    assert 10 * math.log10(ratio) == pytest.approx(9.0, abs=0.05)


def test_an_insert_silences_the_ambience_under_the_speech_alone():
    config = only("broadcast", modes={"insert": 1.0})
    recipe = apart(10.0, config)
    rendered = render(recipe, noise(1, 4.0), noise(2, 8.0))
    first = round(recipe["speech"]["at_s"] * RATE_HZ)
    edge = round(0.015 * RATE_HZ)
    bed, voice = rendered.ambience_stem[0], rendered.speech_stem[0]
    assert not bed[first + edge : first + 64_000 - edge].any()
    outside = np.concatenate([bed[edge:first], bed[first + 64_000 : -edge]])
    assert np.count_nonzero(outside) > 0.99 * len(outside)
    assert not voice[:first].any() and not voice[first + 64_000 :].any()
    assert rendered.measures.achieved_difference_lu == pytest.approx(10.0, abs=0.01)
    assert rendered.measures.achieved_snr_db is not None


def test_speech_begins_at_its_place_to_the_sample():
    config = only("location", full_length_share=1.0)
    recipes = (plan_recipe(item(take=take), config) for take in range(20))
    recipe = next(recipe for recipe in recipes if recipe["speech"]["at_s"] > 0)
    click = np.zeros((1, 64_000), np.float32)
    click[0, 16_000] = 0.5
    rendered = render(recipe, click, noise(2, 8.0))
    place = round(recipe["speech"]["at_s"] * RATE_HZ) + 16_000
    assert np.flatnonzero(rendered.speech_stem[0]).tolist() == [place]


def test_a_room_colours_the_speech_and_the_dry_stem_keeps_it():
    recipe = asking(5.0)
    recipe["speech"]["room"] = {"room_id": "r", "response_sha256": "00", "t60_s": 0.3}
    response = np.zeros(4_000, np.float32)
    response[0], response[3_200] = 1.0, 0.5
    speech = noise(1, 4.0)
    plain, roomy = (
        render(asking(5.0), speech, noise(2, 8.0)),
        render(recipe, speech, noise(2, 8.0), response),
    )
    assert plain.dry_stem is None and roomy.dry_stem is not None
    echo = roomy.speech_stem - roomy.dry_stem
    assert not echo[0, :3_200].any()
    later = 0.5 * roomy.dry_stem[0, :-3_200]
    assert np.abs(echo[0, 3_200:] - later).max() <= 1.01 / 32_768
    assert roomy.measures.achieved_snr_db == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize("regime", ["speech_only", "ambience_only"])
def test_single_regimes_hold_one_sound_at_the_master_s_loudness(regime):
    config = only(regime)
    recipe = plan_recipe(item(), config)
    speech = noise(1, 4.0) if recipe["speech"] else None
    ambience = noise(2, 8.0) if recipe["ambience"] else None
    rendered = render(recipe, speech, ambience)
    stems = {"speech_only": rendered.speech_stem, "ambience_only": rendered.ambience_stem}
    assert np.array_equal(rendered.mix, stems[regime])
    measures = rendered.measures
    assert measures.achieved_snr_db is None and measures.achieved_difference_lu is None
    assert (measures.speech_lufs is None) == (regime == "ambience_only")
    assert measures.loudness_lufs == pytest.approx(-27.0, abs=0.01)
    require_levels(measures, recipe, config)


def test_a_mix_has_the_loudness_and_the_true_peak_that_were_asked():
    rendered = render(asking(5.0), noise(1, 4.0), noise(2, 8.0))
    assert rendered.mix.shape == (1, 64_000)
    assert rendered.measures.loudness_lufs == pytest.approx(-27.0, abs=0.01)
    assert rendered.measures.true_peak_dbtp <= -2.0


def test_a_mix_with_clicks_is_held_under_the_true_peak_limit():
    speech = noise(1, 4.0, 0.001)
    speech[0, 12_000::4_000] = 0.9
    config = only("location", full_length_share=0.0, loudness_tolerance_lu=0.1)
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
    config = MixConfig(speech_devices={"colour": 1.0}, ambience_devices={"clipping": 1.0})
    recipes = [plan_recipe(item(take=take), config) for take in range(6)]
    speech, ambience = noise(1, 4.0), noise(2, 8.0)

    def digests(order):
        return {index: render(recipes[index], speech, ambience).sha256() for index in order}

    forwards = digests(range(6))
    assert len(set(forwards.values())) == 6
    np.random.seed(99)
    random.seed(99)
    assert digests([2, 0, 5, 1, 4, 3]) == forwards
    after = np.random.random(), random.random()
    np.random.seed(99)
    random.seed(99)
    assert (np.random.random(), random.random()) == after


def test_the_hash_of_a_mixture_is_that_of_its_samples():
    rendered = render(asking(3.0), noise(1, 4.0), noise(2, 8.0))
    digest = hashlib.sha256()
    for audio in (rendered.mix, rendered.speech_stem, rendered.ambience_stem):
        digest.update((audio[0] * 32_768).astype("<i2").tobytes())
    assert rendered.sha256() == digest.hexdigest()


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
    said = [{"start_s": a, "end_s": b} for a, b in spans]
    asked = asking(0.0, speech_spans=said), apart(15.0, only("broadcast"), speech_spans=said)
    for recipe in asked:
        with pytest.raises(Rejected) as caught:
            render(recipe, speech * noise(1, 4.0), ambience * noise(2, 8.0))
        assert caught.value.reason == reason


def test_a_level_further_off_than_the_tolerance_is_rejected():
    recipe = asking(10.0)
    measures = render(recipe, noise(1, 4.0), noise(2, 8.0)).measures
    require_levels(measures, recipe, PLAIN)
    with pytest.raises(Rejected, match="SNR") as caught:
        require_levels(measures, asking(10.6), PLAIN)
    assert caught.value.reason == "level_off"
    with pytest.raises(Rejected, match="loudness difference"):
        require_levels(measures, apart(25.0, PLAIN), PLAIN)
