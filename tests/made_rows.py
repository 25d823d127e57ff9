"""A small catalog with known truth: two films and a recording, from files to soundtracks.

Film A (20 s) gives a1 (8 s, English speech on screen) and a2 (12 s, silent: dropped). Film B (36 s)
gives b1 (30 s of sound) and b2 (6 s, German speech off screen). Recording C (40 s, no licence) is
one clip of sound. Source D is not media, source E breaks off.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from storage.catalog import Catalog
from storage.schema import TABLES

Row = dict[str, Any]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def row(table: str, **values: Any) -> Row:
    """A row with a plain value in every column that needs one and is not given."""
    plain = {
        c.name: _plain(c.type)
        for c in TABLES[table].columns
        if not c.nullable and c.name not in values
    }
    return {"run_id": "r-1", **plain, **values} if table != "runs" else plain | values


def _plain(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    if pa.types.is_string(kind):
        return ""
    if pa.types.is_boolean(kind):
        return False
    return NOON if pa.types.is_timestamp(kind) else 0


def made_rows() -> dict[str, list[Row]]:
    """The rows of the catalog, by table."""
    made = {
        "files": [
            row("files", uri=f"/films/{name}", source_id=source, licence=licence, speaker=speaker)
            for name, source, licence, speaker in (
                ("a.mp4", "A", "CC0-1.0", "Anna  Arendt"),
                ("copy-of-a.mp4", "A", "CC0-1.0", "unknown"),
                ("b.mp4", "B", "CC-BY-3.0", "anna arendt"),
                ("c.wav", "C", None, None),
                ("d.mp4", "D", None, ""),
                ("e.mp4", "E", "CC0-1.0", None),
            )
        ],
        "sources": [
            row("sources", source_id=source, uri=uri, duration_s=duration_s, licence=licence)
            for source, uri, duration_s, licence in (
                ("A", "/films/a.mp4", 20.0, "CC0-1.0"),
                ("B", "/films/b.mp4", 36.0, "CC-BY-3.0"),
                ("C", "/films/c.wav", 40.0, None),
                ("E", "/films/e.mp4", 50.0, "CC0-1.0"),
            )
        ],
        "decodes": [
            row("decodes", source_id=source, duration_s=duration_s, cuts_s=cuts_s)
            for source, duration_s, cuts_s in (
                ("A", 20.0, [8.0]),
                ("B", 36.0, [30.0]),
                ("C", 40.0, []),
            )
        ],
        "splits": [
            row("splits", source_id=source, component_id=source, split=split)
            for source, split in (("A", "train"), ("B", "test"), ("C", "train"))
        ],
        "codecs": [row("codecs", codec_id="z1", name="mel_pca", channels=64, latent_hz=25.0)],
        "rejects": [
            row("rejects", stage="probe", item_id="D", reason="not_media", facts="{}"),
            row("rejects", stage="decode", item_id="E", reason="truncated", facts="{}"),
        ],
        "progress": [
            row("progress", stage=stage, item_id=item, status=status, cpu_s=cpu_s)
            for stage, item, status, cpu_s in (
                ("probe", "A", "done", 0.25),
                ("probe", "B", "done", 0.25),
                ("probe", "C", "done", 0.25),
                ("probe", "D", "rejected", 0.25),
                ("probe", "E", "done", 0.25),
                ("decode", "A", "done", 1.0),
                ("decode", "B", "done", 2.0),
                ("decode", "C", "done", 3.0),
                ("decode", "E", "rejected", 0.5),
            )
        ],
        "runs": [
            row("runs", run_id=run, command=command, status="done", wall_s=60.0)
            for run, command in (
                ("r-1", "talkies build"),
                ("r-2", "talkies sonify"),
                ("r-3", "talkies sonify"),
            )
        ],
    }
    return made | _clips() | _models()


def _clips() -> dict[str, list[Row]]:
    times = {"a1": (0, 8), "a2": (8, 20), "b1": (0, 30), "b2": (30, 36), "c1": (0, 40)}
    heard = {"a1": (6.0, "Speech"), "b1": (0.0, "Rain"), "b2": (5.0, "Speech"), "c1": (0.0, "Wind")}
    kinds = {
        "a1": ("speech_on_screen", "visual_tts", None),
        "a2": ("silent", None, "too_quiet"),
        "b1": ("sound", "v2s", None),
        "b2": ("speech_off_screen", "tts", None),
        "c1": ("sound", None, None),
    }
    spoken = {"a1": ("hello there", "en"), "b2": ("guten Tag", "de")}
    return {
        "windows": [
            row(
                "windows",
                clip_id=clip,
                source_id=clip[0].upper(),
                start_s=float(start),
                end_s=float(end),
                duration_s=float(end - start),
                has_audio=clip != "a2",
                has_picture=clip != "c1",
            )
            for clip, (start, end) in times.items()
        ],
        "listens": [
            row("listens", clip_id=clip, speech_s=speech_s, has_speech=speech_s > 0, top_tag=tag)
            for clip, (speech_s, tag) in heard.items()
        ],
        "tags": [
            row("tags", clip_id=clip, rank=rank, label=f"{tag} {rank}", score=1.0 / rank)
            for clip, (_, tag) in heard.items()
            for rank in range(1, 5)
        ],
        "transcripts": [
            row("transcripts", clip_id=clip, text=text, language=language, method="whisper")
            for clip, (text, language) in spoken.items()
        ],
        "words": [
            row("words", clip_id=clip, position=at, word=word, start_s=float(at), end_s=at + 0.5)
            for clip, (text, _) in spoken.items()
            for at, word in enumerate(text.split())
        ],
        "phonemes": [
            row(
                "phonemes",
                clip_id="a1",
                position=0,
                phoneme="ħ",
                end_s=0.1,
                method="proportional_clip",
                spoken_position=0,
                spoken="Hmm",
                in_table=False,
                in_dictionary=False,
            )
        ],
        "features": [
            row("features", clip_id=clip, extractor="mel_pca", version=1, shape=[200, 64])
            for clip in ("a1", "b1", "m1")
        ],
        "kinds": [
            row(
                "kinds",
                clip_id=clip,
                kind=kind,
                task=task,
                kept=reason is None,
                drop_reason=reason,
                evidence="{}",
                failed_gates=["too_quiet", "silent_sound"] if reason else [],
                gates=_verdicts(clip),
            )
            for clip, (kind, task, reason) in kinds.items()
        ],
    }


def _verdicts(clip: str) -> list[Row]:
    """Two gates that only a2 fails, and one that is off."""
    passed = clip != "a2"
    asked = (
        ("too_quiet", -23.0 if passed else -72.0, -60.0, passed),
        ("silent_sound", 0.1 if passed else 1.0, 0.8, passed),
        ("music_in_sound", 0.9, None, None),
    )
    names = ("gate", "value", "threshold", "passed")
    return [
        {"position": place} | dict(zip(names, verdict, strict=True))
        for place, verdict in enumerate(asked, start=1)
    ]


def sight_rows() -> dict[str, list[Row]]:
    """Who speaks in a1, and the offsets of film A and of film B, which is out of sync."""
    return {
        "faces": [row("faces", clip_id="a1", track=track, seen_s=8.0) for track in (0, 1)],
        "talks": [
            row("talks", clip_id="a1", track=track, confidence=confidence, talks=confidence > 0.9)
            for track, confidence in ((0, 0.4), (1, 0.99))
        ],
        "syncs": [
            row("syncs", clip_id=clip, method=method, offset_s=offset_s, confidence=confidence)
            for clip, method, offset_s, confidence in (
                ("a1", "mouth", 0.05, 0.99),
                ("b1", "onset", 0.41, 0.92),
                ("b2", "onset", 0.39, 0.98),
            )
        ],
    }


def mixture_rows() -> dict[str, list[Row]]:
    """A mixture that asks for a loudness difference, and mixtures of speech and ambience alone."""
    mixtures = (
        ("m4", "a1", "c1", "broadcast", 14.9, 2.4, 10.0),
        ("m5", "a1", None, "speech_only", None, 0.0, 8.0),
        ("m6", None, "c1", "ambience_only", None, None, 4.0),
    )
    return {
        "mixtures": [
            row(
                "mixtures",
                mix_id=mix,
                item_id=f"{speech or 'a1'}:0",
                speech_clip_id=speech,
                ambience_clip_id=ambience,
                regime=regime,
                requested_difference_lu=difference_lu,
                achieved_difference_lu=difference_lu and difference_lu + 0.2,
                achieved_snr_db=difference_lu and 5.5,
                speech_at_s=speech_at_s,
                duration_s=duration_s,
                recipe="{}",
            )
            for mix, speech, ambience, regime, difference_lu, speech_at_s, duration_s in mixtures
        ]
    }


def _models() -> dict[str, list[Row]]:
    mixtures = (
        ("m1", "a1", "hard", -4.2, -4.0, 8.0),
        ("m2", "b2", "location", 5.3, 5.9, 6.0),
        ("m3", "a1", "location", 5.9, 6.1, 8.0),
    )
    members = (
        ("d1", "a1", "visual_tts", "train", 8.0),
        ("d1", "b1", "v2s", "test", 30.0),
        ("d2", "a1", "visual_tts", "train", 8.0),
        ("d2", "b1", "v2s", "test", 30.0),
        ("d2", "b2", "tts", "test", 6.0),
        ("d2", "m1", "mixture", "train", 8.0),
    )
    soundtracks = (
        ("g1", "k1", "r-2", 10.0, 0.5),
        ("g2", "k1", "r-2", 30.0, 0.1),
        ("g3", "k2", "r-3", 20.0, 0.3),
    )
    return {
        "mixtures": [
            row(
                "mixtures",
                mix_id=mix,
                item_id=f"{speech}:0",
                speech_clip_id=speech,
                ambience_clip_id="c1",
                regime=regime,
                requested_snr_db=requested,
                achieved_snr_db=achieved,
                duration_s=duration_s,
                recipe="{}",
            )
            for mix, speech, regime, requested, achieved, duration_s in mixtures
        ],
        "datasets": [
            row(
                "datasets",
                dataset_id=f"d{version}",
                name="demo",
                version=version,
                digest=f"digest-{version}",
                catalog_snapshot=10 * version,
                train_items=version,
                test_items=version,
                hours=(38.0 if version == 1 else 52.0) / 3600,
                codec_id="z1",
                shard_refs=[f"shards/dataset/{version}.parquet"],
                licences=["CC-BY-3.0"] if version == 2 else None,
            )
            for version in (1, 2)
        ],
        "dataset_items": [
            row(
                "dataset_items",
                dataset_id=dataset,
                item_id=item,
                task=task,
                split=split,
                duration_s=duration_s,
            )
            for dataset, item, task, split, duration_s in members
        ],
        "checkpoints": [
            row("checkpoints", checkpoint_id=f"k{n}", dataset_id=f"d{n}", preset="tiny")
            for n in (1, 2)
        ],
        "losses": [row("losses", checkpoint_id="k1", phase="joint", step=1, task="all", loss=2.0)],
        "evaluations": [
            row("evaluations", checkpoint_id="k1", metric="loss", task="all", split="test")
        ],
        "generations": [
            row(
                "generations",
                generation_id=generation,
                item_id=f"A:{checkpoint}:1",
                source_id="A",
                checkpoint_id=checkpoint,
                run_id=run,
                duration_s=duration_s,
                rtf=rtf,
            )
            for generation, checkpoint, run, duration_s, rtf in soundtracks
        ],
    }


def insert_all(catalog: Catalog, tables: Iterable[str] | None = None) -> None:
    """Inserts the rows of the made catalog, of all tables or of those named, as one commit."""
    rows = made_rows()
    with catalog.transaction():
        for table in tables or rows:
            catalog.insert(table, rows[table])
