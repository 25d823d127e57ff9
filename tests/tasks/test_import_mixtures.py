"""JAMS documents in: ours give the same samples, Scaper's a recipe, everything else a reason."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.catalog import Catalog
from storage.ids import mix_id
from storage.workspace import Workspace
from tasks.from_scaper import recipe_of
from tasks.import_mixtures import Imported, import_mixtures
from tasks.jams import BadJams, Parent, document_of, encoded
from tasks.mix_form import BadRecipe
from tasks.mixture_files import Wanted
from tests.made_exports import RAIN, TALK, Room, make_room

PARENTS = {"speech": Parent(TALK, "Speech"), "ambience": Parent(RAIN, "Rain")}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Not to be changed."""
    return make_room(tmp_path_factory.mktemp("import") / "workspace", ("broadcast",))


@pytest.fixture(scope="module")
def catalog(room: Room) -> Iterator[Catalog]:
    with Catalog(room.workspace, read_only=True) as opened:
        yield opened


def take(workspace: Workspace, path: Path, document: Any, out: Path | None = None) -> Imported:
    path.write_bytes(encoded(document))
    wanted = Wanted(out, jams=True) if out else None
    return import_mixtures(workspace, [path], wanted, lambda *_: None)


def failure(workspace: Workspace, path: Path, document: Any) -> tuple[str, str]:
    done = take(workspace, path, document)
    assert done.taken == []
    [failed] = done.failures
    assert failed.item == str(path)
    return failed.reason, failed.message


def ours(room: Room, regime: str = "broadcast") -> dict[str, Any]:
    return document_of(room.rows[regime], PARENTS)


def test_a_sound_that_is_not_in_the_workspace_is_named_with_the_mend(
    room: Room, tmp_path: Path
) -> None:
    other = Workspace.at(tmp_path / "other").make()
    reason, message = failure(other, tmp_path / "a.jams", ours(room))
    assert reason == "missing"
    assert f"speech clip speech of {TALK}: its sound " in message
    assert "is not in" in message and "build with it first" in message


def test_other_samples_than_the_document_states_are_refused(room: Room, tmp_path: Path) -> None:
    document = ours(room)
    document["sandbox"]["talkies"] |= {"output_sha256": "0" * 64, "rendered_by": "numpy 1.0"}
    reason, message = failure(room.workspace, tmp_path / "a.jams", document)
    assert reason == "content_hash" and "rendered by numpy 1.0; this is recipe 2" in message


def test_nothing_that_a_document_says_leads_out_of_the_folder(room: Room, tmp_path: Path) -> None:
    document = ours(room)
    document["sandbox"]["talkies"]["split"] = "../../elsewhere"
    done = take(room.workspace, tmp_path / "a.jams", document, tmp_path / "out")
    assert done.failures == []
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    name = room.rows["broadcast"]["mix_id"]
    assert {str(path) for path in written} == {
        "a.jams",
        f"out/other/{name}.flac",
        f"out/other/{name}.jams",
    }


def test_a_recipe_that_cannot_be_rendered_is_a_reason_not_a_traceback(
    room: Room, tmp_path: Path
) -> None:
    document = ours(room)
    said = document["sandbox"]["talkies"]
    said["recipe"]["ambience"] |= {"loop_s": 100.0, "offset_s": 0.0}
    said["mix_id"] = mix_id(said["recipe"])
    reason, message = failure(room.workspace, tmp_path / "a.jams", document)
    assert reason == "jams" and "cannot be rendered: 48000 samples cannot loop" in message


def test_a_file_that_is_not_there_costs_itself_only(room: Room, tmp_path: Path) -> None:
    good = tmp_path / "good.jams"
    good.write_bytes(encoded(ours(room)))
    done = import_mixtures(room.workspace, [tmp_path / "no.jams", good], None, lambda *_: None)
    assert [(f.reason, f.message) for f in done.failures] == [
        ("missing", f"{tmp_path / 'no.jams'}: No such file or directory; name a .jams file")
    ]
    assert [taken.is_identical for taken in done.taken] == [True]


# -- what Scaper writes ------------------------------------------------------------------------


def event(role: str, **changes: Any) -> dict[str, Any]:
    value = {
        "label": "rain" if role == "background" else "voice",
        "source_file": "/elsewhere/rain.wav" if role == "background" else TALK,
        "source_time": 0.0,
        "event_time": 0.0 if role == "background" else 0.37,
        "event_duration": 4.0 if role == "background" else 2.0,
        "snr": 0.0 if role == "background" else 9.5,
        "role": role,
        "pitch_shift": None,
        "time_stretch": None,
    } | changes
    times = {"time": value["event_time"], "duration": value["event_duration"]}
    return times | {"value": value, "confidence": 1.0}


def scaper(*events: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A document as Scaper 1.6.5 writes it, without what nobody reads."""
    said = {"duration": 4.0, "sr": 16_000, "fade_in_len": 0.01, "reverb": None} | settings
    annotation = {
        "annotation_metadata": {},
        "namespace": "scaper",
        "data": list(events) or [event("background"), event("foreground")],
        "sandbox": {"scaper": said},
        "time": 0,
        "duration": 4.0,
    }
    return {"file_metadata": {"duration": 4.0}, "annotations": [annotation], "sandbox": {}}


def test_what_scaper_wrote_becomes_a_recipe_with_its_difference_of_loudness(
    room: Room, tmp_path: Path
) -> None:
    done = take(room.workspace, tmp_path / "s.jams", scaper(), tmp_path / "out")
    assert done.failures == []
    [taken] = done.taken
    assert taken.is_identical is None and taken.regime == "scaper"
    assert taken.notes == ("event_time 0.37 s → at_s 0.4 s, on the 0.2 s grid",)
    # The rain is a test source, so the mixture is of the test split.
    document = json.loads((tmp_path / "out" / "test" / f"{taken.mix_id}.jams").read_text())
    said = document["sandbox"]["talkies"]
    assert said["recipe"]["requested"] == {"snr_db": None, "loudness_difference_lu": 9.5}
    assert said["measured"]["achieved_difference_lu"] == pytest.approx(9.5, abs=0.1)
    assert said["recipe"]["speech"]["at_s"] == 0.4
    assert said["recipe"]["speech"]["spans_s"] == [[0.3, 0.9], [1.2, 1.8]]
    # 3 s of rain under 4 s: it repeats on the grid, with 15 ms left to cross-fade.
    assert said["recipe"]["ambience"]["loop_s"] == 2.8
    again = take(room.workspace, tmp_path / "again.jams", document)
    assert [one.is_identical for one in again.taken] == [True]


def test_a_stretch_of_a_source_keeps_the_speech_that_lies_in_it(catalog: Catalog) -> None:
    cut = event("foreground", source_time=0.5, event_duration=1.0, event_time=2.0)
    mapped = recipe_of(catalog, scaper(event("background"), cut))
    speech = mapped.recipe["speech"]
    assert (speech["start_s"], speech["end_s"], speech["at_s"]) == (0.5, 1.5, 2.0)
    assert speech["spans_s"] == [[0.0, 0.4], [0.7, 1.0]]
    assert mapped.notes == ()


@pytest.mark.parametrize(
    ("events", "settings", "said"),
    [
        (("background", "foreground", "foreground"), {}, "3 events in 1 annotations"),
        (("background",), {}, "1 events in 1 annotations of Scaper's; a recipe has one foreground"),
        (("background", {"pitch_shift": 2}), {}, "pitch_shift=2"),
        (("background", {"time_stretch": 1.2}), {}, "time_stretch=1.2"),
        (("background", {"event_time": -1}), {}, "event_time=-1"),
        (("background", {"source_file": "/x/none.wav"}), {}, "is named none.wav; build with it"),
        (("background", {"source_file": RAIN}), {}, f"no speech was found there in {RAIN}"),
        (("background", {"source_time": 60.0}), {}, "has no sound of 16000 Hz at 60.0 s"),
        (("background", {"event_time": 9.0}), {}, "recipe.speech.at_s=9.0: it lies outside"),
        (("background", "foreground"), {"reverb": 0.5}, "reverb=0.5"),
        (("background", "foreground"), {"duration": "long"}, "duration='long'"),
    ],
)
def test_what_a_recipe_cannot_say_is_refused_with_its_name(
    catalog: Catalog, events: tuple[Any, ...], settings: dict[str, Any], said: str
) -> None:
    made = [event(e) if isinstance(e, str) else event("foreground", **e) for e in events]
    with pytest.raises((BadJams, BadRecipe)) as refused:
        recipe_of(catalog, scaper(*made, **settings))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "document", [{"annotations": [{"namespace": "scaper"}]}, {"annotations": [3]}]
)
def test_what_neither_wrote_is_refused(catalog: Catalog, document: dict[str, Any]) -> None:
    with pytest.raises(BadJams, match="neither talkies nor Scaper wrote this"):
        recipe_of(catalog, document)
