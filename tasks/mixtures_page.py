"""docs/mixtures.md: its tables of regimes, settings, recipe fields and measures, from the code.

Run as `python -m tasks.mixtures_page docs/mixtures.md` after a change of one of them. The page's
text is written by hand; each table stands between two marks and is written over.
"""

import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from storage.schema import TABLES
from storage.workspace import write_atomically
from tasks.jams import MEASURES
from tasks.mix_form import DEVICES, MixtureForm, Span
from tasks.mix_plan import MixConfig
from tasks.mix_regimes import REGIMES, WEIGHTS

LEVELS = (
    *("requested_snr_db", "achieved_snr_db", "requested_difference_lu", "achieved_difference_lu"),
    *(name for name in MEASURES if not name.startswith("achieved_")),
)
MARKED = re.compile(
    r"(<!-- (\w+): made by tasks\.mixtures_page -->\n).*?(?=<!-- end -->)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a recipe: its path as `speech.room.t60_s`, its type in words, and its meaning."""

    path: str
    kind: str
    unit: str
    text: str


def form_fields(form: type[BaseModel] = MixtureForm, below: str = "") -> Iterator[FormField]:
    """Every field of a recipe, in the form's order; what a list holds is named `devices[].kind`."""
    for name, field in form.model_fields.items():
        path = f"{below}{name}"
        extra = field.json_schema_extra
        unit = str(extra["unit"]) if isinstance(extra, dict) else ""
        kinds = _members(field.annotation)
        yield FormField(path, " or ".join(map(_kind, kinds)), unit, field.description or "")
        for kind in kinds:
            inner = typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind
            # A list of devices has a table of its own: it is no class but a choice of them.
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from form_fields(inner, f"{path}." if inner is kind else f"{path}[].")


def _members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if is_union else (kind,)


def _kind(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return ", ".join(map(str, typing.get_args(kind)))
    if typing.get_origin(kind) is list:
        return "list of [start, end]" if typing.get_args(kind)[0] == Span else "list of objects"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "object"
    return {float: "number", int: "integer", str: "text", type(None): "null"}[kind]


def tables() -> dict[str, str]:
    """Name of a table's mark → the table as Markdown."""
    columns = {column.name: column for column in TABLES["mixtures"].columns}
    return {
        "regimes": _table(
            ("regime", "weight", "law", "ambience ducked"),
            [
                (f"`{r.name}`", f"{WEIGHTS[r.name]:g}", r.law, "yes" if r.ducks else "")
                for r in REGIMES.values()
            ],
        ),
        "settings": _table(
            ("setting", "default", "meaning"),
            [
                (f"`mix.{name}`", f"`{default}`" if default else "none", text)
                for name, default, text in settings()
            ],
        ),
        "fields": _table(
            ("field", "type", "unit", "meaning"),
            [(f"`{f.path}`", f.kind, f.unit, f.text) for f in form_fields()],
        ),
        "devices": _table(
            ("device", "field", "type", "unit", "meaning"),
            [
                (f"`{kind}`", f"`{f.path}`", f.kind, f.unit, f.text)
                for kind, fields in device_fields().items()
                for f in fields
            ],
        ),
        "measures": _table(
            ("column", "unit", "meaning"),
            [(f"`{name}`", columns[name].unit, columns[name].text) for name in LEVELS],
        ),
    }


def device_fields() -> dict[str, list[FormField]]:
    """Kind of device → its fields but the kind itself."""
    return {
        typing.get_args(form.model_fields["kind"].annotation)[0]: [
            field for field in form_fields(form) if field.path != "kind"
        ]
        for form in DEVICES
    }


def settings() -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of what a build's recipe may say of mixtures."""
    attributes = (inspect.getdoc(MixConfig) or "").partition("Attributes:\n")[2]
    meanings = dict(re.findall(r"(?ms)^    (\w+): (.*?)(?=^    \w|\Z)", attributes))
    plain = MixConfig()
    for field in dataclasses.fields(MixConfig):
        value = getattr(plain, field.name)
        shown = _range(value) if isinstance(value, tuple) else _weights(value)
        meaning = " ".join(meanings[field.name].split())
        yield field.name, shown, meaning[0].upper() + meaning[1:]


def _range(value: tuple[Any, ...]) -> str:
    return f"[{', '.join(f'{part:g}' for part in value)}]" if value else ""


def _weights(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name}: {weight:g}" for name, weight in value.items())


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    escaped = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    lines = [head, ("---",) * len(head), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def page(text: str) -> str:
    """The page's text with its tables as the code gives them."""
    made = tables()
    return MARKED.sub(lambda found: found[1] + made[found[2]], text)


def main(path: str = "docs/mixtures.md") -> None:
    """Writes the page's tables."""
    file = Path(path)
    write_atomically(file, page(file.read_text("utf-8")).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
