"""Mixtures as JAMS documents (Humphrey et al., ISMIR 2014), as Scaper writes and reads them.

The annotation in namespace `scaper` says what lies where, for people and for Scaper; the words are
an annotation in namespace `lyrics`, and JAMS has no namespace for phonemes. What Scaper has no word
for (rooms, ducking, devices, hashes of the sound) is in the recipe, which the document's sandbox
holds whole, and from which the same samples can be rendered.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from storage.ids import mix_id
from tasks.mix_form import checked_recipe
from tasks.mix_plan import Recipe, rounded

Document = dict[str, Any]

JAMS_VERSION = "0.3.5"
TOOL = "talkies"
MEASURES = (
    "achieved_snr_db",
    "achieved_difference_lu",
    "speech_lufs",
    "ambience_lufs",
    "loudness_lufs",
    "true_peak_dbtp",
    "sum_error",
)


class BadJams(ValueError):
    """A JAMS document that no mixture can be made of; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Parent:
    """What is known of a clip that a mixture is made of.

    Attributes:
        uri: of its source.
        label: the sound class that is heard most.
        licence: of its source; None where it is not known.
        attribution: of its source; None where it is not known.
        words: word, start_s and end_s from the clip's start, and score or None.
    """

    uri: str
    label: str = ""
    licence: str | None = None
    attribution: str | None = None
    words: tuple[dict[str, Any], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Read:
    """What a document of ours says: the recipe, and the hash of the samples it was made of."""

    recipe: Recipe
    output_sha256: str
    rendered_by: str
    split: str
    uris: dict[str, str]


def document_of(row: dict[str, Any], parents: dict[str, Parent]) -> Document:
    """The JAMS document of a row of `mixtures`, with what is known of its speech and ambience."""
    recipe = json.loads(row["recipe"])
    speech, ambience = recipe["speech"], recipe["ambience"]
    events = []
    if ambience:
        events.append(_background(recipe, parents["ambience"]))
    if speech:
        events.append(_foreground(row, recipe, parents["speech"]))
    annotations = [
        _annotation("scaper", recipe["duration_s"], events, {"scaper": _settings(row, recipe)})
    ]
    if speech:
        words = _words(recipe, parents["speech"])
        annotations.append(_annotation("lyrics", recipe["duration_s"], words, {}))
    return {
        "file_metadata": {
            "title": row["mix_id"],
            "artist": "",
            "release": "",
            "duration": recipe["duration_s"],
            "identifiers": {"mix_id": row["mix_id"]},
            "jams_version": JAMS_VERSION,
        },
        "annotations": annotations,
        "sandbox": {
            TOOL: {
                "mix_id": row["mix_id"],
                "item_id": row["item_id"],
                "split": row["split"],
                "recipe": recipe,
                "measured": {name: row[name] for name in MEASURES},
                "output_sha256": row["output_sha256"],
                "rendered_by": row["rendered_by"],
                "parents": {
                    name: {
                        "uri": parent.uri,
                        "licence": parent.licence,
                        "attribution": parent.attribution,
                    }
                    for name, parent in parents.items()
                },
            }
        },
    }


def _annotation(
    namespace: str, duration_s: float, data: list[dict[str, Any]], sandbox: dict[str, Any]
) -> dict[str, Any]:
    return {
        "annotation_metadata": {
            "curator": {"name": "", "email": ""},
            "annotator": {},
            "version": "",
            "corpus": "",
            "annotation_tools": TOOL,
            "annotation_rules": "",
            "validation": "",
            "data_source": "program",
        },
        "namespace": namespace,
        "data": data,
        "sandbox": sandbox,
        "time": 0,
        "duration": duration_s,
    }


def _observation(
    time_s: float, duration_s: float, value: Any, confidence: float | None
) -> dict[str, Any]:
    return {
        "time": rounded(time_s),
        "duration": rounded(duration_s),
        "value": value,
        "confidence": confidence,
    }


def _event(role: str, label: str, times_s: tuple[float, float, float], snr: float, uri: str) -> Any:
    source_s, event_s, duration_s = times_s
    value = {
        "label": label,
        "source_file": uri,
        "source_time": rounded(source_s),
        "event_time": rounded(event_s),
        "event_duration": rounded(duration_s),
        "snr": snr,
        "role": role,
        "pitch_shift": None,
        "time_stretch": None,
    }
    return _observation(event_s, duration_s, value, 1.0)


def _background(recipe: Recipe, parent: Parent) -> dict[str, Any]:
    placed = recipe["ambience"]
    times_s = (placed["start_s"] + placed["offset_s"], 0.0, recipe["duration_s"])
    return _event("background", parent.label, times_s, 0.0, parent.uri)


def _foreground(row: dict[str, Any], recipe: Recipe, parent: Parent) -> dict[str, Any]:
    placed = recipe["speech"]
    length_s = min(placed["end_s"] - placed["start_s"], recipe["duration_s"] - placed["at_s"])
    times_s = (placed["start_s"], placed["at_s"], length_s)
    # Scaper's SNR is a difference of loudness; without a background it counts from ref_db.
    snr = row["achieved_difference_lu"] or 0.0
    return _event("foreground", "speech", times_s, snr, parent.uri)


def _settings(row: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """What Scaper's `generate_from_jams` reads beside the events."""
    reference_lufs = row["ambience_lufs"]
    if reference_lufs is None:
        reference_lufs = row["loudness_lufs"]
    fade_s = recipe["fade_ms"] / 1000
    return {
        "duration": recipe["duration_s"],
        "original_duration": recipe["duration_s"],
        "fg_path": ".",
        "bg_path": ".",
        "protected_labels": [],
        "sr": recipe["rate_hz"],
        "ref_db": reference_lufs,
        "n_channels": 1,
        "fade_in_len": fade_s,
        "fade_out_len": fade_s,
        "reverb": None,
        "n_events": int(recipe["speech"] is not None),
    }


def _words(recipe: Recipe, parent: Parent) -> list[dict[str, Any]]:
    """The words that are heard, in seconds of the mixture."""
    at_s, length_s = recipe["speech"]["at_s"], recipe["duration_s"]
    return [
        _observation(
            at_s + word["start_s"], word["end_s"] - word["start_s"], word["word"], word["score"]
        )
        for word in parent.words
        if 0 <= at_s + word["start_s"] < length_s and word["end_s"] >= word["start_s"]
    ]


def encoded(document: Document) -> bytes:
    """A document as the bytes of a .jams file: the same document gives the same bytes."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parsed(data: bytes) -> Document:
    """The document of a .jams file; raises BadJams where it is none."""
    try:
        # NaN and infinities are no JSON, and nothing here may be one.
        document = json.loads(data, parse_constant=lambda _: None)
    except ValueError as error:
        raise BadJams(f"not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise BadJams("not a JAMS document: it has no list of annotations")
    return document


def is_ours(document: Document) -> bool:
    """Whether talkies wrote a document, so that it holds a recipe."""
    sandbox = document.get("sandbox")
    return isinstance(sandbox, dict) and TOOL in sandbox


def read(document: Document) -> Read:
    """The recipe in a document that talkies wrote; its id is checked against it.

    Raises BadRecipe for a recipe that is none, and BadJams where a part is missing or the recipe is
    not the one that the id was made of.
    """
    said = document["sandbox"][TOOL]
    try:
        stated, output = str(said["mix_id"]), str(said["output_sha256"])
        recipe = checked_recipe(said["recipe"])
    except (KeyError, TypeError) as error:
        raise BadJams(f"sandbox.{TOOL} lacks {error}; export the mixture again") from None
    if mix_id(recipe) != stated:
        raise BadJams(
            f"mix_id {stated}: its recipe has the id {mix_id(recipe)}, so one of them was changed; "
            "export the mixture again"
        )
    parents = said.get("parents") or {}
    uris = {name: str(parents.get(name, {}).get("uri", "?")) for name in ("speech", "ambience")}
    return Read(recipe, output, str(said.get("rendered_by", "?")), str(said.get("split", "")), uris)
