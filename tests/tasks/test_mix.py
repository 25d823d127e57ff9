import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.ids import mix_id
from storage.rejects import Rejected
from storage.schema import TABLES
from storage.stage import ShardRef, ShardTarget
from storage.workspace import Workspace
from tasks.mix import STAGE, mix_shard, render_again
from tasks.mix_plan import MixConfig
from tasks.mix_render import flac_bytes
from tests.made_mixtures import RATE_HZ, item, noise, only

SPOKEN = [(0.5, 3.5)]
SAID = {"flags": [], "method": "whisper", "model_id": "tiny"}


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
    if spans:
        rows["transcripts"] = {"clip_id": name, "text": "hello", "language": "en"} | SAID
    for table, row in rows.items():
        row |= {k: v for k, v in changes.items() if k in TABLES[table].arrow().names}
        row["run_id"] = "r"
    return rows


def add(catalog, *clips):
    for table in ("windows", "listens", "kinds", "decodes", "splits", "transcripts"):
        if made := [rows[table] for rows in clips if table in rows]:
            catalog.insert(table, made)


def choices(catalog, config):
    catalog.plan(STAGE, config)
    rows = catalog.rows("SELECT item_id, ambience_clip_id, _input_hash FROM keyed")
    return {row["item_id"]: (row["ambience_clip_id"], row["_input_hash"]) for row in rows}


@pytest.fixture
def catalog(tmp_path):
    with Catalog(Workspace(tmp_path).make()) as opened:
        yield opened


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


def test_every_class_of_sound_is_heard_as_often_however_many_clips_it_has(catalog):
    add(
        catalog,
        clip("talk", "speech_off_screen", "train", SPOKEN),
        clip("train", "sound", "train", top_tag="Train"),
        *(clip(f"rain{n}", "sound", "train") for n in range(20)),
    )
    partners = [
        partner for partner, _ in choices(catalog, MixConfig(mixtures_per_clip=400)).values()
    ]
    assert partners.count("train") == pytest.approx(200, abs=40)
    heard = {f"rain{n}": partners.count(f"rain{n}") for n in range(20)}
    assert min(heard.values()) >= 2 and max(heard.values()) <= 25


def test_a_rare_language_has_more_takes_of_each_clip(catalog):
    add(
        catalog,
        clip("rain", "sound", "train"),
        *(clip(f"en{n}", "speech_off_screen", "train", SPOKEN) for n in range(12)),
        *(clip(f"de{n}", "speech_off_screen", "train", SPOKEN, language="de") for n in range(4)),
    )

    def taken(balance):
        config = MixConfig(mixtures_per_clip=6, language_balance=balance)
        languages = [item[:2] for item in choices(catalog, config)]
        return {language: languages.count(language) for language in ("en", "de")}

    assert taken(0.0) == {"en": 72, "de": 24}
    assert taken(1.0) == {"en": 48, "de": 48}


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


def test_only_sources_under_the_required_licences_are_mixed(catalog):
    add(catalog, clip("talk", "speech_off_screen", "train", SPOKEN))
    add(catalog, *(clip(name, "sound", "train") for name in ("rain", "wind", "hail")))
    stated = {"s-talk": "CC0-1.0", "s-rain": None, "s-wind": "CC0-1.0", "s-hail": "CC-BY-3.0"}
    for source, licence in stated.items():
        row = {"uri": source, "source_id": source, "size_bytes": 1, "mtime_ns": 1, "run_id": "r"}
        catalog.insert("files", [row | {"licence": licence}])
    many = MixConfig(mixtures_per_clip=30)
    partners = {partner for partner, _ in choices(catalog, many).values()}
    assert partners == {"rain", "wind", "hail"}
    required = MixConfig(mixtures_per_clip=30, licences=("CC0-1.0", "MIT"))
    assert {partner for partner, _ in choices(catalog, required).values()} == {"wind"}
    assert choices(catalog, MixConfig(licences=("CC-BY-3.0",))) == {}
    assert STAGE.fingerprint(many) == STAGE.fingerprint(required)


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
    plain = {"mixtures_per_clip": 2, "max_ambience_gain_db": 20.0, "full_length_share": 0.0}
    config = only("location", **plain)
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
        assert render_again(str(tmp_path), row).sha256() == row["output_sha256"]
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


def test_recipes_alone_are_the_same_mixtures_without_files(tmp_path):
    blobs = Blobs(Workspace(tmp_path).make().root)
    parents = {
        "speech_audio_ref": blobs.put_bytes(flac_bytes(noise(1, 6.0), RATE_HZ), ".flac"),
        "ambience_audio_ref": blobs.put_bytes(flac_bytes(noise(2, 8.0), RATE_HZ), ".flac"),
    }
    folder = tmp_path / "scratch"
    folder.mkdir(exist_ok=True)
    rows = {}
    for keep in ("stems", "mix", "recipe"):
        config = MixConfig(keep=keep)
        keys = {"_fingerprint": "", "_limited_fingerprint": "", "_input_hash": ""}
        items = [item(take=take, item_id=f"speech:{take}", **parents, **keys) for take in range(8)]
        pq.write_table(pa.Table.from_pylist(items), folder / "items.parquet")
        shard = ShardRef("mix", 0, str(folder / "items.parquet"), "r")
        result = mix_shard(shard, ShardTarget(str(tmp_path), str(folder)), config)
        rows[keep] = pq.read_table(result.tables["mixtures"]).to_pylist()
    refs = ("mix_ref", "speech_ref", "dry_ref", "ambience_ref")
    for stems, mix, recipe in zip(*rows.values(), strict=True):
        assert stems["mix_ref"] == mix["mix_ref"] and mix["speech_ref"] is None
        assert [recipe[name] for name in refs] == [None] * 4
        for name in refs:
            del stems[name], recipe[name]
        assert stems == recipe
        assert render_again(str(tmp_path), recipe).sha256() == recipe["output_sha256"]
    assert {row["regime"] for row in rows["recipe"]} >= {"broadcast", "location"}
    with pytest.raises(Rejected, match="build again"):
        render_again(str(tmp_path), rows["recipe"][0] | {"output_sha256": "0" * 64})
