"""A workspace with rendered mixtures, for tests of what goes out of it and comes back."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from storage.blobs import Blobs, hash_in
from storage.catalog import Catalog
from storage.ids import canonical_json
from storage.workspace import Workspace
from tasks.mix import render_parents, row_of, stored_refs
from tasks.mix_plan import Keep, MixConfig, plan_recipe
from tasks.mix_render import flac_bytes
from tests.made_commits import made_row
from tests.made_mixtures import item

TALK, RAIN = "/films/talk.wav", "/films/rain.wav"
SPOKEN = [{"start_s": 0.3, "end_s": 0.9}, {"start_s": 1.2, "end_s": 1.8}]
WORDS = (("good", 0.3, 0.9, 0.98), ("evening", 1.2, 1.8, None))
KEPT: dict[str, Keep] = {
    "broadcast": "stems",
    "hard": "recipe",
    "speech_only": "recipe",
    "ambience_only": "mix",
}


@dataclass(frozen=True)
class Room:
    """A workspace, and the rows of its mixtures by regime; `demo` holds all but the last."""

    workspace: Workspace
    rows: dict[str, dict[str, Any]]


def sound(seed: int, seconds: float, rate_hz: int) -> np.ndarray:
    """Noise that swells and fades, float32 (1, samples): alike, not equal, at both rates."""
    samples = round(seconds * rate_hz)
    drawn = np.random.default_rng(seed).standard_normal((1, samples))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.5 * np.arange(samples) / rate_hz)
    return (0.05 * drawn * swell).astype(np.float32)


def make_room(root: Path, regimes: tuple[str, ...] = tuple(KEPT)) -> Room:
    """Makes the workspace: two sources at both rates, a room, a mixture of each regime."""
    workspace = Workspace.at(root).make()
    blobs = Blobs(workspace.root)
    refs = {
        (name, rate_hz): blobs.put_bytes(
            flac_bytes(sound(seed, seconds, rate_hz), rate_hz), ".flac"
        )
        for name, seed, seconds in (("talk", 1, 2.0), ("rain", 2, 3.0))
        for rate_hz in (16_000, 48_000)
    }
    response = np.zeros((1, 4_800), np.float32)
    response[0, [0, 1_200, 3_000]] = 0.5, 0.2, 0.1
    room_ref = blobs.put_bytes(flac_bytes(response, 48_000), ".flac")
    rows = {}
    for regime in regimes:
        config = MixConfig(
            regimes={regime: 1.0},
            modes={"add": 1.0},
            room_probability=1.0,
            keep=KEPT[regime],
            seed=3,
        )
        planned = item(
            item_id=f"talk:{regime}",
            speech_start_s=0.0,
            speech_end_s=2.0,
            speech_spans=SPOKEN,
            speech_audio_ref=refs["talk", 16_000],
            ambience_end_s=3.0,
            ambience_audio_ref=refs["rain", 16_000],
            room_id="hall",
            room_ref=room_ref,
            t60_s=0.2,
        )
        recipe = plan_recipe(planned, config)
        done = render_parents(str(workspace.root), recipe)
        row = row_of(planned, recipe, done) | stored_refs(str(workspace.root), recipe, done, config)
        rows[regime] = row | {"run_id": "r"}
    _insert(workspace, refs, list(rows.values()), broken_rows(blobs, rows["broadcast"]))
    return Room(workspace, rows)


def broken_rows(blobs: Blobs, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Mixtures that cannot be exported: other samples, another version, lost and damaged blobs."""
    none = {"mix_ref": None, "speech_ref": None, "dry_ref": None, "ambience_ref": None}
    recipe = json.loads(row["recipe"])
    recipe["speech"]["audio_sha256"] = hash_in(blobs.put_bytes(b"damaged", ".flac"))
    return [
        row | none | {"mix_id": "0-changed", "output_sha256": "0" * 64},
        row | none | {"mix_id": "0-damaged", "recipe": canonical_json(recipe)},
        row | {"mix_id": "0-older", "recipe": '{"version":1}'},
        row | {"mix_id": "0-gone", "mix_ref": f"blobs/00/{'0' * 62}.flac"},
    ]


def _insert(
    workspace: Workspace,
    refs: dict[tuple[str, int], str],
    mixtures: list[dict[str, Any]],
    broken: list[dict[str, Any]],
) -> None:
    clips = {"speech": ("s-talk", TALK, SPOKEN), "ambience": ("s-rain", RAIN, [])}
    tables: dict[str, list[dict[str, Any]]] = {"mixtures": mixtures + broken}
    for clip, (source, uri, spans) in clips.items():
        name, seconds = source[2:], 3.0 if clip == "ambience" else 2.0
        made = {
            "files": {"uri": uri, "source_id": source},
            "sources": {"uri": uri, "source_id": source, "licence": "CC0-1.0"},
            "decodes": {
                "source_id": source,
                "audio16_ref": refs[name, 16_000],
                "audio48_ref": refs[name, 48_000],
                "audio_s": seconds,
            },
            "splits": {
                "source_id": source,
                "component_id": source,
                "split": "test" if clip == "ambience" else "train",
            },
            "windows": {"clip_id": clip, "source_id": source, "start_s": 0.0, "end_s": seconds},
            "listens": {
                "clip_id": clip,
                "speech_spans": spans,
                "top_tag": "Speech" if spans else "Rain",
            },
        }
        for table, values in made.items():
            tables.setdefault(table, []).append(made_row(table, **values))
    tables["words"] = [
        made_row(
            "words",
            clip_id="speech",
            position=place,
            word=word,
            start_s=start_s,
            end_s=end_s,
            score=score,
        )
        for place, (word, start_s, end_s, score) in enumerate(WORDS)
    ]
    with Catalog(workspace) as catalog:
        with catalog.transaction():
            for table, rows in tables.items():
                catalog.insert(table, rows)
        dataset = made_row(
            "datasets",
            dataset_id="d" * 32,
            name="demo",
            version=1,
            catalog_snapshot=catalog.snapshot(),
        )
        members = [
            made_row("dataset_items", dataset_id="d" * 32, item_id=row["mix_id"], task="mixture")
            for row in mixtures[:3]
        ]
        with catalog.transaction():
            catalog.insert("datasets", [dataset])
            catalog.insert("dataset_items", members)
