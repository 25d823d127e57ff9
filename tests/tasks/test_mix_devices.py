"""Devices do what their parameters say, leave time alone, and give the same samples anywhere."""

import hashlib
import json
import math
import random
import subprocess
import sys

import numpy as np
import pytest

from tasks.mix_devices import (
    DEFAULT_DEVICES,
    DEVICE_DRAWS,
    apply_devices,
    draw_devices,
    require_kinds,
)
from tests.made_mixtures import noise

RATE_HZ = 48_000
FILM = {
    "kind": "film",
    "low_hz": 80.0,
    "high_hz": 6000.0,
    "hiss_db": -40.0,
    "ticks_per_s": 0.0,
    "tick_db": -10.0,
    "flutter": 0.0,
    "hum_db": -120.0,
    "key": 7,
}


def numbers(seed):
    return np.random.default_rng(seed).random(DEVICE_DRAWS).tolist()


def drawn(kind, seed=3):
    return draw_devices(numbers(seed), {kind: 1.0})


def sine(frequency_hz, amplitude=0.5, seconds=1.0, rate_hz=RATE_HZ):
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * math.pi * frequency_hz * times)).astype(np.float32)[None]


def gain_db(device, frequency_hz):
    """What a device makes of a sine, once it has settled."""
    tone = sine(frequency_hz)
    heard = apply_devices(tone, RATE_HZ, [device])
    half = RATE_HZ // 2
    return 10 * math.log10(np.mean(heard[:, half:] ** 2) / np.mean(tone[:, half:] ** 2))


@pytest.mark.parametrize("frequency_hz", [100.0, 150.0, 300.0, 1000.0, 3400.0, 6800.0, 9000.0])
@pytest.mark.parametrize("rolloff_db", [12, 24])
def test_a_band_limit_attenuates_as_a_butterworth_band_pass_does(frequency_hz, rolloff_db):
    device = {"kind": "band_limit", "low_hz": 300.0, "high_hz": 3400.0, "rolloff_db": rolloff_db}
    # The analogue filter at frequencies warped as the bilinear transform does.
    low, high, at = (math.tan(math.pi * f / RATE_HZ) for f in (300.0, 3400.0, frequency_hz))
    away = (at**2 - low * high) / (at * (high - low))
    expected_db = -10 * math.log10(1 + away ** (2 * rolloff_db // 6))
    assert gain_db(device, frequency_hz) == pytest.approx(expected_db, abs=0.1)


def test_colour_changes_the_balance_of_bands_as_its_parameters_say():
    bands = [{"kind": "peaking", "centre_hz": 1000.0, "gain_db": 0.0, "q": 1.0} for _ in range(7)]
    bands[4] |= {"gain_db": 6.0}
    assert gain_db({"kind": "colour", "bands": bands}, 1000.0) == pytest.approx(6.0, abs=0.05)


def test_clipping_cuts_at_its_threshold_below_the_peak_and_leaves_the_rest():
    device = {"kind": "clipping", "threshold_db": 6.0}
    sound = np.concatenate([sine(440.0, 0.8), sine(440.0, 0.2)], axis=1)
    heard = apply_devices(sound, RATE_HZ, [device])
    ceiling = np.abs(sound).max() * 10 ** (-6 / 20)
    assert np.abs(heard).max() == pytest.approx(ceiling, rel=1e-6)
    assert np.array_equal(heard[:, RATE_HZ:], sound[:, RATE_HZ:])


@pytest.mark.parametrize("kbps", [32, 48, 64])
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_a_codec_loses_something_and_moves_nothing(rate_hz, kbps):
    sound = np.zeros((1, 2 * rate_hz + 123), np.float32)
    places = [0.31, 0.9, 1.77]
    for place in places:
        sound[0, round(place * rate_hz)] = 0.8
    device = {"kind": "codec", "codec": "mp3", "kbps": kbps}
    heard = apply_devices(sound, rate_hz, [device])
    assert heard.shape == sound.shape
    for place in places:
        at = round(place * rate_hz)
        near = heard[0, at - 2000 : at + 2000]
        assert abs(int(np.argmax(np.abs(near))) - 2000) <= 1
        assert 0.2 < np.abs(near).max() < 0.79


def test_film_has_hiss_at_its_level_where_the_sound_is_silent():
    sound = np.concatenate([sine(1000.0, 0.4), np.zeros((1, 2 * RATE_HZ), np.float32)], axis=1)
    heard = apply_devices(sound, RATE_HZ, [FILM])
    silent = heard[0, -RATE_HZ:].astype(np.float64)
    level_db = 10 * math.log10(np.mean(silent**2)) - 20 * math.log10(0.4)
    assert level_db == pytest.approx(-40.0, abs=0.3)
    power = np.abs(np.fft.rfft(silent)) ** 2
    assert power[12_000:].sum() < 0.05 * power.sum()  # an octave above its band


def test_film_ticks_as_often_and_hums_as_loud_as_its_parameters_say():
    sound = np.zeros((1, 20 * RATE_HZ), np.float32)
    sound[0, 0] = 1.0
    quiet = FILM | {"hiss_db": -120.0}
    ticking = apply_devices(sound, RATE_HZ, [quiet | {"ticks_per_s": 5.0}])[0, RATE_HZ:]
    loud = np.abs(ticking) > 0.01
    # A tick rings for some samples: those within 2 ms are one.
    ticks = 1 + np.count_nonzero(np.diff(np.flatnonzero(loud)) > RATE_HZ // 500)
    assert 65 <= ticks <= 125  # 95 are drawn in the mean, and some are too small to count
    assert np.abs(ticking).max() == pytest.approx(10 ** (-10 / 20), abs=0.1)
    humming = apply_devices(sound, RATE_HZ, [quiet | {"hum_db": -30.0}])[0, -RATE_HZ:]
    lines = np.abs(np.fft.rfft(humming.astype(np.float64)))
    assert int(np.argmax(lines)) == 96
    assert 2 * lines[96] / RATE_HZ == pytest.approx(math.sqrt(2) * 10 ** (-30 / 20), rel=0.01)


def test_every_kind_keeps_length_and_type_and_leaves_silence_silent():
    sound = np.concatenate([noise(1, 0.5), noise(2, 0.5)])
    for kind in DEFAULT_DEVICES:
        (device,) = drawn(kind)
        assert json.loads(json.dumps(device)) == device
        heard = apply_devices(sound, RATE_HZ, [device])
        assert heard.shape == sound.shape and heard.dtype == np.float32
        assert not np.array_equal(heard, sound)
        assert not apply_devices(np.zeros_like(sound), RATE_HZ, [device]).any()


SCRIPT = """
import hashlib, json, sys
from tests.made_mixtures import noise
from tasks.mix_devices import apply_devices
made = {}
for device in json.loads(sys.argv[1]):
    heard = apply_devices(noise(1, 1.0), 48_000, [device])
    made[device["kind"]] = hashlib.sha256(heard.tobytes()).hexdigest()
print(json.dumps(made))
"""


def test_devices_give_the_same_samples_in_any_order_and_in_another_process():
    devices = [drawn(kind)[0] for kind in DEFAULT_DEVICES]
    np.random.seed(99)
    random.seed(99)
    here = {
        device["kind"]: hashlib.sha256(
            apply_devices(noise(1, 1.0), RATE_HZ, [device]).tobytes()
        ).hexdigest()
        for device in devices
    }
    after = np.random.random(), random.random()
    np.random.seed(99)
    random.seed(99)
    assert (np.random.random(), random.random()) == after
    command = [sys.executable, "-c", SCRIPT, json.dumps(devices[::-1])]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(there.stdout) == here


def test_another_probability_of_one_kind_changes_no_other_kinds_draws():
    everything = dict.fromkeys(DEFAULT_DEVICES, 1.0)
    whole = {device["kind"]: device for device in draw_devices(numbers(5), everything)}
    assert list(whole) == ["colour", "clipping", "band_limit", "codec", "film"]
    for kind in DEFAULT_DEVICES:
        left = draw_devices(numbers(5), everything | {kind: 0.0})
        assert left == [device for name, device in whole.items() if name != kind]
        assert drawn(kind, 5) == [whole[kind]]


def test_each_kind_comes_as_often_as_its_probability_says():
    probabilities = {"colour": 0.3, "codec": 0.05, "film": 0.5}
    total = 4000
    counts = dict.fromkeys(DEFAULT_DEVICES, 0)
    for seed in range(total):
        for device in draw_devices(numbers(seed), probabilities):
            counts[device["kind"]] += 1
    for kind, found in counts.items():
        wanted = probabilities.get(kind, 0.0)
        spread = math.sqrt(total * wanted * (1 - wanted))
        assert abs(found - wanted * total) <= 4 * spread


def test_a_kind_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ValueError, match=r"\['wax'\] is none of \['band_limit'"):
        require_kinds({"wax": 0.1})
    with pytest.raises(ValueError, match="wax"):
        apply_devices(noise(1, 0.1), RATE_HZ, [{"kind": "wax"}])
