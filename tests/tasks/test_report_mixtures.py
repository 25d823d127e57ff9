"""What the report's section on mixtures counts, chooses and draws, on made rows."""

import json
import re
from typing import Any

import numpy as np
import pytest

from storage.catalog import Catalog
from storage.workspace import Workspace
from tasks.ducking import ducking_curve_db
from tasks.mix_plan import plan_recipe
from tasks.mix_regimes import REGIMES
from tasks.report_mixture_cards import recipe_facts
from tasks.report_mixture_charts import ducking_svg, knees, law_share, level_chart, levels_svg
from tasks.report_mixtures import DOTS, MixedReport, mixed_report, spread
from tests.made_mixtures import item, only

PLAIN = {
    "split": "train", "mode": "add", "loudness_lufs": -27.0, "true_peak_dbtp": -6.0,
    "sum_error": 0.0, "duration_s": 6.0, "devices": [], "output_sha256": "0", "recipe": "{}",
    "rendered_by": "recipe 2", "run_id": "r",
}  # fmt: skip
SNRS = [(float(asked), asked + (0.01 if asked < 16 else -0.3)) for asked in range(-3, 17)]
LOUDER = [(8.0, 7.9), (24.5, 24.5)]


def rows() -> list[dict[str, Any]]:
    """Twenty mixtures that ask for an SNR, two for a loudness difference, three for neither."""
    made: list[dict[str, Any]] = [
        {"regime": "location", "requested_snr_db": asked, "achieved_snr_db": achieved}
        for asked, achieved in SNRS
    ]
    made += [
        {"regime": "broadcast", "requested_difference_lu": asked, "achieved_difference_lu": got,
         "ducking_db": 7.5, "achieved_snr_db": 11.0}
        for asked, got in LOUDER
    ]  # fmt: skip
    made += [{"regime": "speech_only"}] * 2 + [{"regime": "ambience_only"}]
    made[0] |= {"room_id": "a", "t60_s": 0.3, "devices": ["speech:codec"], "mode": "insert"}
    made[1] |= {"room_id": "a", "t60_s": 0.3, "devices": ["speech:codec", "ambience:film"]}
    made[2] |= {"room_id": "b", "t60_s": 0.9, "true_peak_dbtp": -2.01, "sum_error": 1e-5}
    made[3] |= {"loudness_lufs": -27.4, "mix_ref": "blobs/aa/01.flac"}
    return [
        PLAIN | row | {"mix_id": f"{place:04d}", "item_id": f"i:{place}"}
        for place, row in enumerate(made)
    ]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Catalog(Workspace(tmp_path_factory.mktemp("mixed")).make()) as opened:
        opened.insert("mixtures", rows())
        reject = {"stage": "mix", "message": "", "facts": "{}", "run_id": "r"}
        for place, reason in enumerate(("level_off", "no_speech", "level_off")):
            opened.insert("rejects", [reject | {"item_id": f"r:{place}", "reason": reason}])
        yield opened


@pytest.fixture(scope="module")
def report(catalog: Catalog) -> MixedReport:
    return mixed_report(catalog, "")


def test_levels_count_each_mixture_under_what_it_was_asked_for(report: MixedReport) -> None:
    assert {(d["level"], d["asked"], d["achieved"]) for d in report.dots} == {
        *(("snr_db", *pair) for pair in SNRS),
        *(("loudness_difference_lu", *pair) for pair in LOUDER),
    }
    off = [abs(achieved - asked) for asked, achieved in SNRS]
    snr, louder = report.levels
    assert (snr["level"], snr["mixtures"], louder["mixtures"]) == ("snr_db", 20, 2)
    assert snr["worst"] == pytest.approx(0.3) and louder["worst"] == pytest.approx(0.1)
    assert snr["usual"] == pytest.approx(np.quantile(off, 0.95))
    assert report.totals["levelless"] == 3


def test_totals_are_those_of_the_rows(report: MixedReport) -> None:
    expected = {
        "mixtures": 25, "peak_dbtp": -2.01, "quietest_lufs": -27.4, "loudest_lufs": -27.0,
        "sum_error": 1e-5, "in_rooms": 3, "rooms": 2, "least_t60_s": 0.3, "most_t60_s": 0.9,
        "added": 24, "inserted": 1, "ducked": 2, "least_ducking_db": 7.5, "damaged": 2,
        "recipes_only": 24,
    }  # fmt: skip
    assert {name: report.totals[name] for name in expected} == expected
    assert [(row["device"], row["mixtures"]) for row in report.devices] == [
        ("speech:codec", 2),
        ("ambience:film", 1),
    ]
    assert [(row["reason"], row["mixtures"]) for row in report.rejects] == [
        ("level_off", 2),
        ("no_speech", 1),
    ]


def test_shares_are_asked_by_the_builds_recipe_and_made_by_the_rows(
    catalog: Catalog, report: MixedReport
) -> None:
    recipe = json.dumps({"mix": {"regimes": {"location": 3, "hard": 1, "broadcast": 0}}})
    found = mixed_report(catalog, "", recipe).regimes
    shares = {row["regime"]: (row["asked_share"], row["made_share"]) for row in found}
    assert shares == {
        "broadcast": (0.0, 0.08), "location": (0.75, 0.8), "hard": (0.25, 0.0),
        "speech_only": (0.0, 0.08), "ambience_only": (0.0, 0.04),
    }  # fmt: skip
    assert [row["regime"] for row in found] == list(REGIMES)
    usual = {row["regime"]: row["asked_share"] for row in report.regimes}
    assert usual["broadcast"] == pytest.approx(0.5)


def test_a_chart_of_many_keeps_the_furthest_off(catalog: Catalog) -> None:
    drawn = [row for row in catalog.rows(DOTS, [1, 2]) if row["level"] == "snr_db"]
    assert [row["asked"] for row in drawn] == [-3.0, -2.0, 16.0]


def test_dots_stand_at_what_was_asked_and_achieved() -> None:
    dots = [{"asked": 0.0, "achieved": 0.0}, {"asked": 100.0, "achieved": 50.0}]
    drawing = str(level_chart(dots, "signal-to-noise ratio", "dB"))
    # The axis has 6 % of air on either side; the chart is 240 px high.
    assert '<circle cx="5.357%" cy="227.1"' in drawing
    assert '<circle cx="94.643%" cy="120.0"' in drawing
    assert "<title>100.00 dB asked, 50.00 achieved</title>" in drawing


def test_bars_of_a_regime_count_every_mixture_and_its_law_is_the_line(report: MixedReport) -> None:
    bins = [row for row in report.bins if row["regime"] == "broadcast"]
    # 7.9 LU lies beyond the law by a hair and counts in its first bar.
    drawing = str(levels_svg({row["bin"]: row["mixtures"] for row in bins}, REGIMES["broadcast"]))
    assert re.findall(r"<title>(.*?)</title>", drawing) == ["1 from 8 to 9", "1 from 24 to 25"]
    assert '<rect class="kept" x="0.000%"' in drawing
    even = str(levels_svg({low: 7 for low in range(-5, 5)}, REGIMES["hard"]))
    heights = set(re.findall(r'y="(0\.0)" height="(84\.0)"', even))
    line = re.search(r'class="law" points="(.*?)"', even)
    assert heights == {("0.0", "84.0")}
    assert line and {point.split(",")[1] for point in line[1].split()} == {"0.0"}


@pytest.mark.parametrize("name", ["broadcast", "location", "hard"])
def test_the_shares_of_a_law_are_those_of_its_draws(name: str) -> None:
    regime = REGIMES[name]
    draws = np.array([regime.draw(u) for u in (np.arange(2000) + 0.5) / 2000])
    for low in range(int(regime.low), int(regime.high)):
        drawn = np.mean((draws >= low) & (draws < low + 1))
        assert law_share(regime, low) == pytest.approx(drawn, abs=0.001)


def test_the_ducking_curve_is_drawn_through_its_bends() -> None:
    ducking = {"depth_db": 6.0, "attack_s": 0.2, "release_s": 0.5}
    bends = knees([(1.0, 2.0)], 4.0, ducking)
    assert [time_s for time_s, _ in bends] == [0.0, 0.8, 1.0, 2.0, 2.5, 4.0]
    assert [gain_db for _, gain_db in bends] == pytest.approx([0, 0, -6, -6, 0, 0], abs=1e-9)
    drawing = str(ducking_svg([(1.0, 2.0)], 4.0, ducking))
    assert 'points="0.0,10.0 200.0,10.0 250.0,48.0 500.0,48.0 625.0,10.0 1000.0,10.0"' in drawing
    assert '<rect x="250.0" width="250.0"' in drawing
    spans = [(0.013, 0.4567), (0.7, 0.9), (1.31, 2.0)]
    times, gains = zip(*knees(spans, 4.0, ducking), strict=True)
    whole = ducking_curve_db(spans, 4.0, ducking)
    assert np.interp(np.arange(4001) / 1000, times, gains) == pytest.approx(whole, abs=1e-6)
    assert len(times) < 30


def candidate(mix_id: str, regime: str, ambience: str, outside: bool = False) -> dict[str, Any]:
    return {
        "mix_id": mix_id, "regime": regime, "outside": outside, "ambience_clip_id": ambience,
        "ambience_tag": ambience, "speech_clip_id": f"talk-{mix_id}",
    }  # fmt: skip


def test_mixtures_to_listen_to_differ_in_regime_and_ambience() -> None:
    offered = [
        candidate(f"{regime}-{sound}-{turn}", regime, sound)
        for regime in sorted(REGIMES)
        for sound in ("rain", "train", "wind")
        for turn in range(4)
    ]
    chosen = spread(offered)
    regimes = [one.split("-")[0] for one in chosen]
    assert {name: regimes.count(name) for name in REGIMES} == {
        "broadcast": 3, "location": 3, "hard": 2, "speech_only": 1, "ambience_only": 1,
    }  # fmt: skip
    sounds = [one.split("-")[1] for one in chosen]
    assert {sounds.count(sound) for sound in ("rain", "train", "wind")} == {3, 4}
    assert spread(offered) == chosen
    members = [candidate("a", "hard", "rain", outside=True), candidate("b", "hard", "rain")]
    assert spread(members, 1) == ["b"]
    assert len(spread([candidate(str(n), "speech_only", "") for n in range(12)])) == 10


def test_a_recipe_is_told_in_words() -> None:
    recipe = plan_recipe(item(), only("location", modes={"insert": 1.0}))
    speech, ambience = recipe["speech"], recipe["ambience"]
    speech["devices"] = [
        {"kind": "band_limit", "low_hz": 300.2, "high_hz": 3400.0, "rolloff_db": 12},
        {"kind": "codec", "codec": "mp3", "kbps": 32},
    ]
    speech["room"] = {"room_id": "a", "response_sha256": "0", "t60_s": 0.412}
    told = {name: text.replace("\u00a0", " ") for name, text in recipe_facts(recipe)}
    assert told == {
        "Mode": "insert, ambience stops for the speech",
        "Speech clip": f"begins at {speech['at_s']:.1f} s",
        "Room": "T60 0.41 s",
        "Speech through": "band limit 300 to 3\u202f400 Hz, MP3 at 32 kbit/s",
        "Ambience": f"from {ambience['offset_s']:.1f} s of its clip",
    }
