"""Forecasts from a sample: exact where the sample is the whole, honest about what it cannot say."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tasks.forecast import Tried, collapsed, draw, forecast, strata_of


def files(count: int, suffix: str, size_bytes: int = 1000) -> list[dict[str, Any]]:
    return [
        {"uri": f"/archive/{number:04d}{suffix}", "size_bytes": size_bytes * (number + 1)}
        for number in range(count)
    ]


def tried_as(stratum: str, row: Mapping[str, Any], s_per_byte: float = 0.01, **more: Any) -> Tried:
    """A file of even density, of which 5 s were tried: decode costs 0.1, listen 0.02 a second."""
    made = {
        "duration_s": row["size_bytes"] * s_per_byte,
        "excerpt_s": 5.0,
        "worker_s": {"decode": 0.5, "listen": 0.1},
        "stored_bytes": 5000.0,
        "kept_s": {("sound", True): 4.0, ("silent", False): 1.0},
    }
    return Tried(stratum, row["size_bytes"], **(made | more))


def test_even_files_are_forecast_exactly_with_an_interval_of_no_width() -> None:
    strata = strata_of(files(30, ".mp4") + files(12, ".mp3"))
    tried = [tried_as(name, row) for name, row in draw(strata)[:20]]
    found = forecast(tried, strata)
    media_s = 0.01 * sum(row["size_bytes"] for group in strata.values() for row in group)
    expected = {
        found.media_s: media_s,
        found.worker_s["decode"]: 0.1 * media_s,
        found.worker_s["listen"]: 0.02 * media_s,
        found.total_worker_s: 0.12 * media_s,
        found.stored_bytes: 1000 * media_s,
        found.kept_s["sound", True]: 0.8 * media_s,
        found.kept_s["silent", False]: 0.2 * media_s,
    }
    for span, value in expected.items():
        assert (span.value, span.low, span.high) == pytest.approx((value, value, value))
    assert found.rejected == {}
    assert found.tried == 20


def test_work_that_is_known_is_added_to_what_new_files_bring() -> None:
    strata = strata_of(files(6, ".mp4"))
    tried = [tried_as(name, row) for name, row in draw(strata)]
    found = forecast(tried, {}, known_s={"listen": 100.0})
    assert found.media_s.value == 0
    assert found.worker_s["decode"].value == 0
    assert found.worker_s["listen"].value == pytest.approx(2.0)
    both = forecast(tried, strata, known_s={"listen": 100.0})
    assert both.worker_s["listen"].value == pytest.approx(2.0 + 0.02 * both.media_s.value)


def test_rejects_are_forecast_by_number_of_files_not_by_size() -> None:
    strata = {"film 1": files(100, ".mp4")}
    rows = strata["film 1"]
    tried = [tried_as("film 1", row) for row in rows[50:59]]
    tried.append(Tried("film 1", 1, reason="not_media"))
    assert forecast(tried, strata).rejected["not_media"].value == pytest.approx(10.0)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    held = 0
    for turn in range(60):
        strata = strata_of(files(200, ".mp4"))
        density = {
            row["uri"]: generator.lognormal(-4.6, 0.5) for group in strata.values() for row in group
        }
        truth = sum(row["size_bytes"] * density[row["uri"]] for g in strata.values() for row in g)
        tried = [tried_as(name, row, density[row["uri"]]) for name, row in draw(strata)[:40]]
        span = forecast(tried, strata, seed=turn).media_s
        held += span.low <= truth <= span.high
    assert 45 <= held <= 60


def test_a_stratum_with_one_tried_file_borrows_its_spread_from_its_kind() -> None:
    names = ["film 1", "film 2", "film 3", "sound 1"]
    two = [Tried(name, 1) for name in ("film 1", "film 2", "sound 1", "sound 1")]
    assert collapsed(two, names) == {
        "film 1": "film", "film 2": "film", "film 3": "film", "sound 1": "sound",
    }  # fmt: skip
    assert set(collapsed(two[:3], names).values()) == {"all"}
    full = [Tried(name, 1) for name in names for _ in range(2)]
    assert collapsed(full, names) == {name: name for name in names}


def test_a_stratum_that_was_not_tried_is_not_forecast_as_nothing() -> None:
    strata = strata_of(files(30, ".mp4"))
    smallest = next(iter(strata))
    tried = [tried_as(smallest, row) for row in strata[smallest][:4]]
    media_s = 0.01 * sum(row["size_bytes"] for group in strata.values() for row in group)
    assert forecast(tried, strata).media_s.value == pytest.approx(media_s)


def test_drawing_takes_turns_among_strata_and_is_the_same_every_time() -> None:
    strata = strata_of(files(9, ".mp4") + files(3, ".wav"))
    order = draw(strata)
    assert [name for name, _ in order[:6]] == list(strata)
    assert {row["uri"] for _, row in order} == {row["uri"] for g in strata.values() for row in g}
    assert draw({name: list(reversed(group)) for name, group in strata.items()}) == order


def test_no_tried_file_is_no_forecast() -> None:
    with pytest.raises(ValueError, match="the pilot tried no file; give it more seconds"):
        forecast([], {})
