import hashlib
import io
import json
import math
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.ids import canonical_json, mix_id
from storage.rejects import Rejected
from storage.schema import TABLES
from storage.stage import ShardRef, ShardTarget
from storage.workspace import Workspace
from tasks.mix import (
    REGIMES,
    STAGE,
    MixConfig,
    coloured,
    flac_bytes,
    mix_shard,
    picture_rows,
    plan_recipe,
    render,
    require_levels,
)

RATE_HZ = 16_000
PLAIN = MixConfig(colour_probability=0.0)


def sine(frequency_hz, amplitude, seconds):
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * math.pi * frequency_hz * times)).astype(np.float32)[None]


def noise(seed, seconds, amplitude=0.05):
    drawn = np.random.default_rng(seed).standard_normal((1, round(seconds * RATE_HZ)))
    return (amplitude * drawn).astype(np.float32)


def item(**changes):
    made = {
        "item_id": "speech:0",
        "take": 0,
        "split": "train",
        "speech_clip_id": "speech",
        "speech_start_s": 1.0,
        "speech_end_s": 5.0,
        "speech_audio_ref": "blobs/aa/01.flac",
        "speech_spans": [{"start_s": 0.6, "end_s": 1.8}, {"start_s": 2.4, "end_s": 3.6}],
        "speech_has_picture": False,
        "ambience_clip_id": "ambience",
        "ambience_start_s": 0.0,
        "ambience_end_s": 8.0,
        "ambience_audio_ref": "blobs/bb/02.flac",
        "ambience_has_picture": False,
    }
    return made | changes


def asking(snr_db, **changes):
    return plan_recipe(item(**changes), PLAIN) | {"requested_snr_db": snr_db}


# -- rendering -------------------------------------------------------------------------------------


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


# -- planning --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    take=st.integers(0, 50),
    speech_s=st.floats(0.4, 10.0),
    ambience_s=st.floats(1.0, 30.0),
    fade_ms=st.floats(10, 20),
)
def test_a_recipe_lies_within_its_laws_and_survives_json(seed, take, speech_s, ambience_s, fade_ms):
    config = MixConfig(seed=seed, fade_ms=fade_ms, colour_probability=0.5)
    made = item(take=take, speech_end_s=1.0 + speech_s, ambience_end_s=ambience_s)
    recipe = plan_recipe(made, config)
    low, high = {"location": (-3, 20), "hard": (-5, 5)}[recipe["regime"]]
    assert low <= recipe["requested_snr_db"] <= high
    placed = recipe["ambience"]
    assert placed["offset_s"] * 5 == pytest.approx(round(placed["offset_s"] * 5))
    if placed["loop_s"] is None:
        assert 0 <= placed["offset_s"] <= ambience_s - speech_s + 1e-5
    else:
        assert placed["offset_s"] == 0 and ambience_s < speech_s + 1e-5
        assert placed["loop_s"] + fade_ms / 1000 <= ambience_s + 1e-5
    for band in recipe["speech"]["colour"] or []:
        assert abs(band["gain_db"]) <= config.colour_gain_db and 0.4 <= band["q"] <= 1.0
    assert json.loads(canonical_json(recipe)) == recipe
    assert mix_id(plan_recipe(made, config)) == mix_id(recipe)


def test_the_laws_of_the_regimes_are_those_that_are_documented():
    generator = np.random.Generator(np.random.Philox(key=1))
    location = np.array([REGIMES["location"](generator) for _ in range(4_000)])
    hard = np.array([REGIMES["hard"](generator) for _ in range(4_000)])
    assert location.mean() == pytest.approx(7.1, abs=0.3) and location.std() == pytest.approx(
        4.7, abs=0.3
    )
    assert location.min() >= -3 and location.max() <= 20
    assert hard.mean() == pytest.approx(0.0, abs=0.2) and hard.min() >= -5 and hard.max() <= 5


def test_regimes_come_by_their_weights_and_unknown_ones_are_refused():
    config = MixConfig(regimes={"location": 3.0, "hard": 1.0})
    drawn = [plan_recipe(item(take=take), config)["regime"] for take in range(1_000)]
    assert drawn.count("hard") == pytest.approx(250, abs=45)
    only = MixConfig(regimes={"location": 0.0, "hard": 1.0})
    assert {plan_recipe(item(take=take), only)["regime"] for take in range(50)} == {"hard"}
    with pytest.raises(ValueError, match="underwater"):
        MixConfig(regimes={"underwater": 1.0})
    with pytest.raises(ValueError, match="positive weight"):
        MixConfig(regimes={"hard": 0.0})


def test_another_seed_take_or_parent_gives_another_recipe_and_a_moved_file_does_not():
    known = mix_id(plan_recipe(item(), PLAIN))
    others = [
        mix_id(plan_recipe(item(take=1), PLAIN)),
        mix_id(plan_recipe(item(), MixConfig(seed=1, colour_probability=0.0))),
        mix_id(plan_recipe(item(ambience_clip_id="other"), PLAIN)),
        mix_id(plan_recipe(item(speech_audio_ref="blobs/aa/09.flac"), PLAIN)),
        mix_id(plan_recipe(item(speech_spans=[{"start_s": 0.6, "end_s": 1.7}]), PLAIN)),
    ]
    assert len({known, *others}) == 6
    assert mix_id(plan_recipe(item(split="test"), PLAIN)) == known


def test_the_picture_is_the_speaker_s_or_else_the_ambience_s_under_its_sound():
    speaker = plan_recipe(item(speech_has_picture=True, ambience_has_picture=True), PLAIN)
    assert speaker["picture_clip_id"] == "speech" and speaker["picture_offset_s"] == 0.0
    scenery = plan_recipe(item(ambience_has_picture=True), PLAIN)
    assert scenery["picture_clip_id"] == "ambience"
    assert scenery["picture_offset_s"] == scenery["ambience"]["offset_s"]
    neither = plan_recipe(item(), PLAIN)
    assert neither["picture_clip_id"] is None and neither["picture_offset_s"] == 0.0
    assert {r["phoneme_clip_id"] for r in (speaker, scenery, neither)} == {"speech"}


def test_picture_rows_follow_the_ambience_through_its_loop():
    recipe = plan_recipe(item(ambience_has_picture=True, ambience_end_s=1.5), PLAIN)
    assert recipe["picture_loop_s"] == 1.4
    rows = picture_rows(recipe, 10)
    assert len(rows) == 40 and rows[:16].tolist() == [*range(14), 0, 1]
    shifted = picture_rows(recipe | {"picture_loop_s": None, "picture_offset_s": 0.6}, 25)
    assert shifted.tolist() == list(range(15, 115))


# -- the stage -------------------------------------------------------------------------------------


def clip(name, kind, split, spans=(), **changes):
    """What the stage's query reads of a clip, filled up with plausible values: table → row."""
    rows = {
        "windows": {
            "clip_id": name,
            "source_id": f"s-{name}",
            "start_s": 0.0,
            "end_s": 4.0,
            "duration_s": 4.0,
            "scene": 0,
            "has_audio": True,
            "has_picture": False,
        },
        "listens": {
            "clip_id": name,
            "silence_ratio": 0.1,
            "speech_s": sum(end - start for start, end in spans),
            "speech_spans": [{"start_s": start, "end_s": end} for start, end in spans],
            "speech_score": 0.9 if spans else 0.01,
            "top_tag": "Speech" if spans else "Rain",
            "has_speech": bool(spans),
        },
        "kinds": {"clip_id": name, "kind": kind, "kept": True, "evidence": "{}"},
        "decodes": {
            "source_id": f"s-{name}",
            "duration_s": 4.0,
            "audio16_ref": "blobs/aa/01.flac",
            "audio_s": 4.0,
            "cuts_s": [],
            "decode_cpu_s": 0.0,
        },
        "splits": {"source_id": f"s-{name}", "component_id": f"s-{name}", "split": split},
    }
    for table, row in rows.items():
        row |= {k: v for k, v in changes.items() if k in TABLES[table].arrow().names}
        row["run_id"] = "r"
    return rows


def add(catalog, *clips):
    for table in ("windows", "listens", "kinds", "decodes", "splits"):
        catalog.insert(table, [rows[table] for rows in clips])


def choices(catalog, config):
    catalog.plan(STAGE, config)
    rows = catalog.rows("SELECT item_id, ambience_clip_id, _input_hash FROM keyed")
    return {row["item_id"]: (row["ambience_clip_id"], row["_input_hash"]) for row in rows}


@pytest.fixture
def catalog(tmp_path):
    with Catalog(Workspace(tmp_path).make()) as opened:
        yield opened


SPOKEN = [(0.5, 3.5)]


def test_a_new_ambience_changes_only_the_choices_that_it_wins(catalog):
    talks = [clip(f"talk{n}", "speech_off_screen", "train", SPOKEN) for n in range(12)]
    add(catalog, *talks, *(clip(f"rain{n}", "sound", "train") for n in range(3)))
    config = MixConfig(mixtures_per_clip=2)
    before = choices(catalog, config)
    assert len(before) == 24 and len({partner for partner, _ in before.values()}) == 3
    add(
        catalog,
        clip("talk99", "speech_off_screen", "train", SPOKEN),
        clip("rain99", "sound", "validation"),
    )
    after = choices(catalog, config)
    assert {key: after[key] for key in before} == before
    add(catalog, clip("wind", "sound", "train"))
    newest = choices(catalog, config)
    changed = [key for key in after if newest[key] != after[key]]
    assert 0 < len(changed) < len(after) / 2
    assert {newest[key][0] for key in changed} == {"wind"}


def test_partners_share_a_split_and_a_split_without_ambience_has_no_mixtures(catalog):
    splits = ("train", "validation", "test")
    add(
        catalog,
        *(clip(f"talk-{split}", "speech_on_screen", split, SPOKEN) for split in splits),
        clip("rain", "sound", "train"),
        clip("wind", "sound", "test"),
    )
    chosen = choices(catalog, MixConfig())
    assert {key: partner for key, (partner, _) in chosen.items()} == {
        "talk-train:0": "rain",
        "talk-test:0": "wind",
    }


def test_ambience_with_speech_or_without_sound_is_never_laid_under_speech(catalog):
    add(
        catalog,
        clip("talk", "speech_off_screen", "train", SPOKEN),
        clip("someone speaks", "sound", "train", has_speech=True),
        clip("perhaps speech", "sound", "train", speech_score=0.3),
        clip("dropped", "sound", "train", kept=False),
        clip("silent", "sound", "train", silence_ratio=0.9),
        clip("sound ends early", "sound", "train", audio_s=0.7),
        clip("mixed", "mixed", "train"),
        clip("no sound", "sound", "train", audio16_ref=None),
    )
    assert choices(catalog, MixConfig(mixtures_per_clip=20)) == {}
    add(catalog, clip("rain", "sound", "train"))
    assert {partner for partner, _ in choices(catalog, MixConfig()).values()} == {"rain"}


def test_the_stage_stores_mixtures_whose_rows_say_what_the_files_hold(catalog, tmp_path):
    blobs = Blobs(tmp_path)
    voice = blobs.put_bytes(flac_bytes(noise(1, 4.0), RATE_HZ), ".flac")
    rain = blobs.put_bytes(flac_bytes(noise(2, 4.0), RATE_HZ), ".flac")
    hush = blobs.put_bytes(flac_bytes(noise(3, 4.0, 1e-4), RATE_HZ), ".flac")
    add(
        catalog,
        clip("talk", "speech_off_screen", "train", SPOKEN, audio16_ref=voice),
        clip("rain", "sound", "train", audio16_ref=rain),
        clip("tone", "speech_off_screen", "test", SPOKEN, audio16_ref=voice),
        clip("hush", "sound", "test", audio16_ref=hush),
    )
    config = MixConfig(mixtures_per_clip=2, max_ambience_gain_db=20.0)
    pending = catalog.plan(STAGE, config)
    folder = tmp_path / "scratch"
    [ref] = catalog.cut(pending, folder, "r")
    out = ShardTarget(str(tmp_path), str(folder))
    result = mix_shard(ref, out, config)
    assert (result.done, result.rejected) == (2, 2)
    rows = pq.read_table(result.tables["mixtures"]).to_pylist()
    assert {row["item_id"] for row in rows} == {"talk:0", "talk:1"}
    for row in rows:
        mix, speech, ambience = (
            soundfile.read(io.BytesIO(blobs.read(row[name])), dtype="float64")[0]
            for name in ("mix_ref", "speech_ref", "ambience_ref")
        )
        assert np.abs(mix - speech - ambience).max() <= 1e-4
        # 30 ms frames whose larger part lies in [0.5, 3.5): 8 160 to 56 160.
        active = slice(8_160, 56_160)
        ratio = np.square(speech[active]).sum() / np.square(ambience[active]).sum()
        assert 10 * math.log10(ratio) == pytest.approx(row["achieved_snr_db"], abs=1e-5)
        assert abs(row["achieved_snr_db"] - row["requested_snr_db"]) < 0.1
        assert mix_id(json.loads(row["recipe"])) == row["mix_id"] and row["split"] == "train"
    rejects = pq.read_table(result.tables["rejects"]).to_pylist()
    assert {row["reason"] for row in rejects} == {"level_off"}
    catalog.commit(STAGE, result)
    assert catalog.plan(STAGE, config).items == 0
    item_alone = [one for one in ref.items() if one["item_id"] == "talk:1"]
    pq.write_table(pa.Table.from_pylist(item_alone), folder / "alone.parquet")
    again = mix_shard(ShardRef("mix", 0, str(folder / "alone.parquet"), "r"), out, config)
    assert pq.read_table(again.tables["mixtures"]).to_pylist() == [
        row for row in rows if row["item_id"] == "talk:1"
    ]
