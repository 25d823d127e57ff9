"""What changed between two versions of a dataset, and why.

Each version of a dataset pins the snapshot of all tables that it was made of. What an item's clip,
labels and features were in either version is read from those tables as they were then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from storage.catalog import Catalog
from storage.version_facts import Past, add_parents, past_of

MIN_PREFIX = 6
PLACE = "coalesce(d.freeze_number, d.version)"
"""SQL: place of a row `d` of `datasets` among the freezes of its name; the newest is highest."""
ASKED = "$dataset IN (d.name, d.name || '@' || d.version)"
"""SQL: whether a row `d` of `datasets` is a version of NAME, or is NAME@VERSION."""
CAME, WENT, CHANGED = "came", "went", "changed"

REASONS: dict[str, str] = {
    "source_new": "the source is new",
    "source_gone": "the source is gone",
    "source_changed": "the file holds other bytes",
    "clip_cut": "the clip was cut anew",
    "clip_gone": "the clip was cut away",
    "gate": "a gate lets it through, or does no longer",
    "label": "a label changed",
    "transcript": "the transcript changed",
    "phonemes": "the phonemes changed",
    "features": "a feature came, went or changed",
    "codec": "another codec",
    "phoneme_table": "another table of phoneme ids",
    "split": "the split changed",
    "recipe": "the mixture has another partner, level or setting",
    "selection": "the dataset's own selection changed",
    "expired": "the snapshot is no longer kept",
    "unknown": "no recorded input differs",
}


class UnknownVersion(LookupError):
    """No dataset version, or no snapshot, is what was given."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item differs: a code of REASONS, and what exactly."""

    code: str
    detail: str = ""

    def __str__(self) -> str:
        """The reason in words."""
        return f"{REASONS[self.code]}: {self.detail}" if self.detail else REASONS[self.code]


@dataclass(frozen=True, slots=True)
class ItemChange:
    """An item that came, went or changed."""

    item_id: str
    change: str
    task: str
    split: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """How dataset version `b` differs from `a`; both are rows of `datasets`."""

    a: dict[str, Any]
    b: dict[str, Any]
    items: tuple[ItemChange, ...]
    same: int

    def counts(self) -> dict[str, int]:
        """Change → number of items; `same` is the number of items that do not differ."""
        found = {change: 0 for change in (CAME, WENT, CHANGED)}
        for item in self.items:
            found[item.change] += 1
        return found | {"same": self.same}

    def by_reason(self) -> list[dict[str, Any]]:
        """The number of items for each change and reason, most first; a row is ready to print."""
        found: dict[tuple[str, str], int] = {}
        for item in self.items:
            for code in {reason.code for reason in item.reasons}:
                found[item.change, code] = found.get((item.change, code), 0) + 1
        ranked = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))
        return [
            {"change": change, "reason": code, "items": count, "meaning": REASONS[code]}
            for (change, code), count in ranked
        ]


def resolve(catalog: Catalog, version: str) -> dict[str, Any]:
    """The `datasets` row of `name@version`, `name` (its newest) or the start of a dataset id.

    Raises UnknownVersion naming the versions that there are.
    """
    name, _, number = version.partition("@")
    if number and not number.isdigit():
        raise UnknownVersion(f"dataset {version!r}: write NAME@VERSION with a number, as demo@1")
    rows = catalog.rows(
        "SELECT * FROM lake.datasets d WHERE name = ? "
        "AND (? = '' OR version = TRY_CAST(? AS INT)) "
        f"ORDER BY {PLACE} DESC LIMIT 1",
        [name, number, number],
    )
    if not rows and len(version) >= MIN_PREFIX:
        rows = catalog.rows("SELECT * FROM lake.datasets WHERE dataset_id ^@ ?", [version])
    if len(rows) == 1:
        return rows[0]
    there = catalog.rows("SELECT name, version FROM lake.datasets ORDER BY ALL")
    names = ", ".join(f"{row['name']}@{row['version']}" for row in there) or "none"
    problem = "begins several ids" if rows else "is no dataset"
    raise UnknownVersion(f"{version!r} {problem}; there are {names}")


def diff(catalog: Catalog, a: str, b: str) -> VersionDiff:
    """How dataset version `b` differs from version `a`, item by item, each with its reasons.

    Reasons come from comparing the tables as each version saw them. Where a version's snapshot
    was expired (by `talkies catalog forget`), its reason says so. Raises UnknownVersion.
    """
    old, new = resolve(catalog, a), resolve(catalog, b)
    rows = catalog.rows(
        """SELECT coalesce(a.item_id, b.item_id) AS item_id, a.item_id IS NOT NULL AS was,
                  b.item_id IS NOT NULL AS is, a.task AS old_task, b.task AS new_task,
                  a.split AS old_split, b.split AS new_split
           FROM (FROM lake.dataset_items WHERE dataset_id = ?) a
           FULL JOIN (FROM lake.dataset_items WHERE dataset_id = ?) b USING (item_id)
           WHERE a.content_hash IS DISTINCT FROM b.content_hash
              OR a.split IS DISTINCT FROM b.split OR a.task IS DISTINCT FROM b.task
           ORDER BY item_id""",
        [old["dataset_id"], new["dataset_id"]],
    )
    ids = [row["item_id"] for row in rows]
    before, after = past_of(catalog, old, ids), past_of(catalog, new, ids)
    add_parents(catalog, old, new, before, after)
    items = tuple(_explained(row, before, after) for row in rows)
    total = catalog.value(
        "SELECT count(*) FROM lake.dataset_items WHERE dataset_id = ?", [new["dataset_id"]]
    )
    differing = sum(row["is"] for row in rows)
    return VersionDiff(old, new, items, int(total) - differing)


def _explained(row: dict[str, Any], before: Past, after: Past) -> ItemChange:
    change = CHANGED if row["was"] and row["is"] else CAME if row["is"] else WENT
    item_id = row["item_id"]
    reasons: list[Reason]
    if not (before.known and after.known):
        which = " and ".join(
            name for name, side in (("first", before), ("second", after)) if not side.known
        )
        reasons = [Reason("expired", f"of the {which} version")]
    elif item_id in before.mixtures or item_id in after.mixtures:
        reasons = list(_mixture_reasons(item_id, before, after))
    else:
        reasons = list(_clip_reasons(item_id, before, after))
    if change == CHANGED and row["old_split"] != row["new_split"] and before.known and after.known:
        reasons.append(Reason("split", f"{row['old_split']} → {row['new_split']}"))
    unique = tuple(dict.fromkeys(reasons))
    if not unique:
        unique = (Reason("unknown" if change == CHANGED else "selection"),)
    return ItemChange(
        item_id,
        change,
        row["new_task"] or row["old_task"],
        row["new_split"] or row["old_split"],
        unique,
    )


def _mixture_reasons(mix_id: str, before: Past, after: Past) -> Iterator[Reason]:
    """Reasons that lie in the mixture's parents, in its own features, or in its recipe."""
    was, now = before.mixtures.get(mix_id), after.mixtures.get(mix_id)
    mixture = now or was or {}
    inherited: list[Reason] = []
    for part in ("speech", "ambience"):
        clip_id = mixture[f"{part}_clip_id"]
        if clip_id is None:
            continue
        found = list(_clip_reasons(clip_id, before, after, of_parent=True))
        if was and now:
            found += _lent(mix_id, clip_id, before, after)
        inherited += [
            Reason(reason.code, f"{part} {clip_id[:8]} {reason.detail}".strip()) for reason in found
        ]
    yield from inherited
    if was and now:
        yield from _compared(before.clips[mix_id], after.clips[mix_id])
        yield from _shared(before, after)
    elif not inherited:
        yield Reason("recipe")


def _lent(mix_id: str, clip_id: str, before: Past, after: Past) -> Iterator[Reason]:
    """What a mixture takes from a parent clip: its phonemes and the features of its picture."""
    was, now = before.clips.get(clip_id), after.clips.get(clip_id)
    if was and now:
        own = {*before.clips[mix_id]["features"], *after.clips[mix_id]["features"]}
        for reason in _compared(was, now):
            if reason.code != "transcript" and reason.detail.partition(" ")[0] not in own:
                yield reason


def _clip_reasons(
    clip_id: str, before: Past, after: Past, of_parent: bool = False
) -> Iterator[Reason]:
    was, now = before.clips.get(clip_id, {}), after.clips.get(clip_id, {})
    had, has = was.get("source_id"), now.get("source_id")
    if has and not had:
        yield _appeared(has, before, after)
    elif had and not has:
        yield _vanished(had, before, after)
    elif had and has:
        yield from _gate(was, now)
        yield from _labels(was, now)
        if of_parent:
            if was["split"] != now["split"]:
                yield Reason("split", f"{was['split']} → {now['split']}")
        else:
            yield from _compared(was, now)
            yield from _shared(before, after)


def _appeared(source_id: str, before: Past, after: Past) -> Reason:
    uri = after.sources.get(source_id, source_id)
    if source_id in before.sources:
        return Reason("clip_cut", uri)
    return Reason("source_changed" if uri in before.bytes_at else "source_new", uri)


def _vanished(source_id: str, before: Past, after: Past) -> Reason:
    uri = before.sources.get(source_id, source_id)
    if source_id in after.sources:
        return Reason("clip_gone", uri)
    return Reason("source_changed" if uri in after.bytes_at else "source_gone", uri)


def _gate(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Reason]:
    if was["kept"] is not None and now["kept"] is not None and was["kept"] != now["kept"]:
        yield Reason("gate", _step(was["drop_reason"] or "kept", now["drop_reason"] or "kept"))


def _labels(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Reason]:
    for column in ("kind", "task"):
        if was[column] != now[column]:
            yield Reason("label", f"kinds.{column} {_step(was[column], now[column])}")


def _compared(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Reason]:
    if was["text"] != now["text"]:
        yield Reason("transcript", _step(was["text"], now["text"]))
    if was["phonemes"] != now["phonemes"]:
        yield Reason("phonemes")
    for extractor in sorted({*was["features"], *now["features"]}):
        old, new = was["features"].get(extractor), now["features"].get(extractor)
        if old != new:
            yield Reason("features", f"{extractor} {_step(old and old[:8], new and new[:8])}")


def _shared(before: Past, after: Past) -> Iterator[Reason]:
    if before.codec != after.codec:
        yield Reason("codec", _step(before.codec[:8], after.codec[:8]))
    if before.phoneme_table != after.phoneme_table:
        yield Reason("phoneme_table", _step(before.phoneme_table, after.phoneme_table))


def _step(old: Any, new: Any) -> str:
    shown = ["none" if value is None else str(value) for value in (old, new)]
    return " → ".join(text if len(text) <= 40 else text[:39] + "…" for text in shown)
