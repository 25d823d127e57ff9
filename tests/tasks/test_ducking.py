import numpy as np
import pytest

from tasks.ducking import CONTROL_HZ, ducked, ducking_curve_db

DUCKING = {"depth_db": 8.0, "attack_s": 0.2, "release_s": 0.5}


def at(curve_db, time_s):
    return curve_db[round(time_s * CONTROL_HZ)]


def test_the_ambience_is_down_when_speech_begins_and_back_after_the_release():
    curve_db = ducking_curve_db([(1.0, 2.0)], 4.0, DUCKING)
    assert len(curve_db) == 4 * CONTROL_HZ + 1
    assert at(curve_db, 0.79) == 0.0 and at(curve_db, 0.9) == pytest.approx(-4.0)
    assert at(curve_db, 1.0) == -8.0 and at(curve_db, 1.5) == -8.0 and at(curve_db, 2.0) == -8.0
    assert at(curve_db, 2.25) == pytest.approx(-4.0) and at(curve_db, 2.51) == 0.0


def test_between_close_spans_the_deeper_curve_holds():
    curve_db = ducking_curve_db([(1.0, 2.0), (2.2, 3.0)], 4.0, DUCKING)
    between = curve_db[2 * CONTROL_HZ : round(2.2 * CONTROL_HZ)]
    assert np.all(between <= -8.0 * (1 - 0.2 / 0.5)) and np.all(between >= -8.0)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_sound_follows_the_curve_without_steps(rate_hz):
    curve_db = ducking_curve_db([(0.5, 0.8)], 2.0, DUCKING)
    gains = ducked(np.ones((1, 2 * rate_hz + 7), np.float32), rate_hz, curve_db)[0]
    assert gains[round(0.6 * rate_hz)] == pytest.approx(10 ** (-8 / 20), abs=1e-6)
    assert gains[0] == 1.0 and gains[-1] == 1.0
    # 8 dB over 0.2 s is 0.04 dB a millisecond.
    steepest = np.abs(np.diff(20 * np.log10(gains.astype(np.float64)))).max()
    assert steepest <= 0.0401 / (rate_hz / 1000) * 1.01
