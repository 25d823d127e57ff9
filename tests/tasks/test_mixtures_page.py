"""docs/mixtures.md: its tables are what the code gives, and they name everything."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from flows.cli_mixtures import mixtures
from tasks.mix_devices import DEFAULT_DEVICES
from tasks.mix_plan import MixConfig, plan_recipe
from tasks.mix_regimes import REGIMES
from tasks.mixtures_page import device_fields, form_fields, main, page, tables
from tests.made_mixtures import item

COMMITTED = Path(__file__).parents[2] / "docs" / "mixtures.md"
BLOB = "blobs/aa/" + "a" * 62 + ".flac"


def paths(value: Any, below: str = "") -> Iterator[str]:
    """The path of every field of a recipe; a device's begins with its kind."""
    for name, inner in value.items():
        path = f"{below}{name}"
        yield path
        if isinstance(inner, dict):
            yield from paths(inner, f"{path}.")
        for part in inner if isinstance(inner, list) else ():
            if name == "devices":
                kept = {field: v for field, v in part.items() if field != "kind"}
                yield from paths(kept, f"{part['kind']}: ")
            elif isinstance(part, dict):
                yield from paths(part, f"{path}[].")


def planned_fields() -> set[str]:
    made = item(
        speech_audio_ref=BLOB,
        ambience_audio_ref=BLOB,
        room_id="hall",
        room_ref=BLOB,
        t60_s=0.4,
        speech_has_picture=True,
        ambience_has_picture=True,
    )
    every = dict.fromkeys(DEFAULT_DEVICES, 0.5)
    config = MixConfig(compose="inset", speech_devices=every, ambience_devices=every)
    return {
        path for take in range(80) for path in paths(plan_recipe(made | {"take": take}, config))
    }


def test_the_committed_tables_are_what_the_code_gives() -> None:
    text = COMMITTED.read_text()
    assert all(f"<!-- {name}: made by tasks.mixtures_page -->" in text for name in tables())
    assert text == page(text), "run `python -m tasks.mixtures_page docs/mixtures.md`"


def test_every_field_of_a_planned_recipe_is_documented_and_no_other() -> None:
    documented = {field.path: field for field in form_fields()}
    devices = {f"{k}: {f.path}": f for k, fields in device_fields().items() for f in fields}
    assert planned_fields() == set(documented) | set(devices)
    text = COMMITTED.read_text()
    for path, field in documented.items():
        assert f"| `{path}` |" in text
        assert field.unit or not path.endswith(("_s", "_hz", "_ms", "_db", "_lu", "_lufs"))
    for path in devices:
        assert "| `{}` | `{}` |".format(*path.split(": ")) in text


def test_a_regimes_law_says_the_numbers_that_are_drawn() -> None:
    for regime in REGIMES.values():
        said = sorted(float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", regime.law))
        drawn = [regime.low, regime.high] if regime.level else []
        if regime.mean is not None:
            drawn += [regime.mean, regime.deviation]
        assert said == sorted(drawn), regime.name
        assert ("ducked" in regime.law) == regime.ducks


def test_the_pages_commands_are_ones_that_there_are() -> None:
    group: Any = typer.main.get_command(mixtures)
    found = re.findall(r"(?m)^talkies mixtures (\w+) ([^#\n]*)", COMMITTED.read_text())
    assert {name for name, _ in found} == set(group.commands)
    for name, words in found:
        group.commands[name].make_context(name, shlex.split(words))


def test_only_what_stands_between_marks_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "before\n<!-- regimes: made by tasks.mixtures_page -->\nold\n<!-- end -->\nafter\n"
    )
    main(str(path))
    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after") and "old" not in lines
    assert sum(line.startswith("| `") for line in lines) == len(REGIMES)
