import numpy as np
import pytest

from tasks.mix_regimes import REGIMES, WEIGHTS, drawn_name

EVENLY = (np.arange(4_000) + 0.5) / 4_000


def drawn(name):
    return np.array([REGIMES[name].draw(uniform) for uniform in EVENLY.tolist()])


def test_the_laws_of_the_regimes_are_those_that_are_documented():
    # Means and deviations of the truncated normal laws by scipy.stats.truncnorm.
    broadcast, location, hard = (drawn(name) for name in ("broadcast", "location", "hard"))
    assert broadcast.mean() == pytest.approx(15.288, abs=0.002)
    assert broadcast.std() == pytest.approx(3.557, abs=0.002)
    assert broadcast.min() >= 8 and broadcast.max() <= 25
    assert location.mean() == pytest.approx(7.208, abs=0.002)
    assert location.std() == pytest.approx(4.612, abs=0.002)
    assert location.min() >= -3 and location.max() <= 20
    assert hard.mean() == pytest.approx(0.0, abs=0.01) and hard.min() >= -5 and hard.max() <= 5


def test_the_shares_of_the_regimes_are_those_of_the_policy():
    assert set(WEIGHTS) == set(REGIMES) and sum(WEIGHTS.values()) == pytest.approx(1.0)
    names = [drawn_name(uniform, WEIGHTS) for uniform in EVENLY.tolist()]
    for name, weight in WEIGHTS.items():
        assert names.count(name) == pytest.approx(4_000 * weight, abs=1)
    assert {drawn_name(u, {"hard": 2.0, "location": 0.0}) for u in (0.0, 0.5, 0.999)} == {"hard"}


def test_only_broadcast_ducks_and_only_single_regimes_ask_for_no_level():
    assert [name for name, regime in REGIMES.items() if regime.ducks] == ["broadcast"]
    levels = {name: regime.level for name, regime in REGIMES.items()}
    assert levels == {
        "broadcast": "loudness_difference_lu",
        "location": "snr_db",
        "hard": "snr_db",
        "speech_only": None,
        "ambience_only": None,
    }
