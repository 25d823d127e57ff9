"""Write mixtures as sound files for other tools: with JAMS documents, and a table of them all.

What is stored is copied, everything else is rendered from its recipe and checked against the hash
of its row. At another sample rate a mixture is another recipe: it gets an id of its own, and what
is written of it is what was measured at that rate.

An export that was stopped goes on: a list of the files that are finished, with the hash of each,
lies in the folder, and what is there with that hash is left as it is.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from soundfile import LibsndfileError

from storage.blobs import hash_in
from storage.catalog import Catalog
from storage.ids import mix_id, sha256_file
from storage.mixture_rows import mixture_ids, mixtures, parent_clips
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.jams import Parent, document_of, encoded
from tasks.mix import render_parents, require_levels, row_of
from tasks.mix_plan import RECIPE_VERSION, MixConfig, Recipe
from tasks.mixture_files import (
    Wanted,
    files_of,
    name_of,
    places_of,
    stored_or_rendered,
    write_unless_there,
)
from tasks.mixture_manifest import manifest_row, write_manifest

JOURNAL = ".exported.jsonl"
PAGE = 500
VERIFY = "`talkies catalog verify` names the file"

Row = dict[str, Any]
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Failure:
    """A mixture that could not be written.

    Attributes:
        item: its id, or the file that it was to come from.
        reason: a code of storage/rejects.py, or `jams` for a document that cannot be used.
        message: what is wrong, and the mend.
    """

    item: str
    reason: str
    message: str


@dataclass(slots=True)
class Exported:
    """What an export did: of `asked` mixtures `mixtures` arrived; the others count files."""

    out: Path
    asked: int = 0
    mixtures: int = 0
    written: int = 0
    kept: int = 0
    failures: list[Failure] = field(default_factory=list)


def export_mixtures(
    workspace: Workspace, dataset: str | None, wanted: Wanted, tell: Tell
) -> Exported:
    """Writes the mixtures of a dataset version, or all; those that fail are told, not raised.

    Args:
        workspace: whose catalog and sounds are read.
        dataset: NAME, NAME@VERSION or the start of a dataset id; None for all mixtures.
        wanted: what is written, and where.
        tell: called with how many are done, how many there are, and the newest.

    Raises UnknownVersion for a dataset that is not there, or whose snapshot is not kept.
    """
    rows: list[Row] = []
    with Catalog(workspace, read_only=True) as catalog:
        ids, snapshot = mixture_ids(catalog, dataset)
        exported = Exported(wanted.out, len(ids))
        wanted.out.mkdir(parents=True, exist_ok=True)
        job = _Job(str(workspace.root), wanted, _finished(wanted.out / JOURNAL), exported)
        for done, (name, row, clips) in enumerate(_pages(catalog, ids, snapshot), start=1):
            if made := job.export(name, row, clips):
                rows.append(made)
            tell(done, len(ids), name[:12])
    exported.mixtures = len(rows)
    write_manifest(wanted.out, rows)
    return exported


def _pages(
    catalog: Catalog, ids: list[str], snapshot: int
) -> Iterator[tuple[str, Row | None, dict[str, Row]]]:
    """Each id with its row, None where there is none, and the rows of its clips."""
    left = iter(ids)
    while page := list(islice(left, PAGE)):
        rows = {row["mix_id"]: row for row in mixtures(catalog, page, snapshot)}
        clips = {
            clip
            for row in rows.values()
            for clip in (row["speech_clip_id"], row["ambience_clip_id"])
            if clip
        }
        known = {row["clip_id"]: row for row in parent_clips(catalog, sorted(clips), snapshot)}
        for name in page:
            yield name, rows.get(name), known


def _finished(journal: Path) -> dict[str, Row]:
    """Id → files with their hashes, and the row where it is not the catalog's.

    A line that was cut off when an export was stopped is left out.
    """
    found: dict[str, Row] = {}
    for line in journal.read_text("utf-8").splitlines() if journal.exists() else ():
        try:
            entry = json.loads(line)
            before = found.get(entry["mix_id"], {"files": {}})
            found[entry["mix_id"]] = entry | {"files": before["files"] | entry["files"]}
        except (ValueError, KeyError, TypeError):
            continue
    return found


@dataclass(slots=True)
class _Job:
    """One export: where it reads and writes, and what is finished."""

    workspace_root: str
    wanted: Wanted
    finished: dict[str, Row]
    exported: Exported

    def export(self, name: str, row: Row | None, clips: dict[str, Row]) -> Row | None:
        """Writes one mixture; its row of the manifest, or None where it failed."""
        try:
            if row is None:
                raise Rejected("missing", "the snapshot of the dataset has no such mixture")
            return self._export(row, clips)
        except Rejected as error:
            self._fail(name, error.reason, error.message)
        except FileNotFoundError as error:
            self._fail(name, "missing", str(error))
        except LibsndfileError as error:
            self._fail(name, "content_hash", f"a sound of it is damaged: {error}; {VERIFY}")
        except Exception as error:
            error.add_note(f"mixture {name}")
            raise
        return None

    def _fail(self, name: str, reason: str, message: str) -> None:
        self.exported.failures.append(Failure(name, reason, message))

    def _export(self, row: Row, clips: dict[str, Row]) -> Row:
        wanted, recipe = self.wanted, json.loads(row["recipe"])
        if recipe.get("version") != RECIPE_VERSION:
            raise Rejected(
                "changed",
                f"its recipe is of version {recipe.get('version')}, this is {RECIPE_VERSION}; "
                "build again, and export the new version of the dataset",
            )
        is_own = wanted.rate_hz in (None, recipe["rate_hz"])
        if not is_own:
            recipe = at_rate(recipe, wanted.rate_hz or 0, clips)
        places = places_of(recipe, row["split"], wanted)
        entry = self._entry(mix_id(recipe), places)
        if entry is None:
            if is_own:
                made = stored_or_rendered(
                    self.workspace_root, row, tuple(places), wanted.audio_format
                )
            else:
                done = render_parents(self.workspace_root, recipe)
                require_levels(done.measures, recipe, MixConfig())
                made = files_of(done, recipe["rate_hz"], tuple(places), wanted.audio_format)
                row = row_of(row, recipe, done)
            hashes = {place: self._write(place, made[part]) for part, place in places.items()}
            self._remember(mix_id(recipe), hashes, None if is_own else row)
        elif not is_own:
            row = entry["row"]
        return self._described(row, name_of(recipe, row["split"]), places, clips)

    def _described(self, row: Row, name: str, places: dict[str, str], clips: dict[str, Row]) -> Row:
        """The mixture's row of the manifest; writes its JAMS document where one is wanted."""
        parents = {
            parent: parent_of(clips.get(row[f"{parent}_clip_id"]))
            for parent in ("speech", "ambience")
            if row[f"{parent}_clip_id"]
        }
        place = None
        if self.wanted.jams:
            place = f"{name}.jams"
            self._write(place, encoded(document_of(row, parents)))
        return manifest_row(row, places, place, parents)

    def _entry(self, key: str, places: dict[str, str]) -> Row | None:
        """What is known of a mixture whose files are all there with their hashes."""
        entry = self.finished.get(key)
        if entry is None:
            return None
        for place in places.values():
            path = self.wanted.out / place
            if not path.is_file() or sha256_file(path) != entry["files"].get(place):
                return None
        self.exported.kept += len(places)
        return entry

    def _write(self, place: str, data: bytes) -> str:
        """Writes a file unless it is there with these bytes; returns its sha256."""
        digest, is_new = write_unless_there(self.wanted.out / place, data)
        self.exported.written += is_new
        self.exported.kept += not is_new
        return digest

    def _remember(self, key: str, hashes: dict[str, str], row: Row | None) -> None:
        entry = {"mix_id": key, "files": hashes, "row": row}
        with (self.wanted.out / JOURNAL).open("a", encoding="utf-8") as stream:
            # On a line of its own, also behind one that was cut off.
            stream.write(f"\n{json.dumps(entry)}\n")


def at_rate(recipe: Recipe, rate_hz: int, clips: dict[str, Row]) -> Recipe:
    """The recipe of the same mixture at another sample rate; raises Rejected("missing")."""
    changed = recipe | {"rate_hz": rate_hz}
    column = "audio48_ref" if rate_hz == 48_000 else "audio16_ref"
    for name in ("speech", "ambience"):
        if recipe[name]:
            clip_id = recipe[name]["clip_id"]
            ref = clips.get(clip_id, {}).get(column)
            if not ref:
                raise Rejected("missing", f"clip {clip_id}: its sound at {rate_hz} Hz is not kept")
            changed[name] = recipe[name] | {"audio_sha256": hash_in(ref)}
    return changed


def parent_of(clip: Row | None) -> Parent:
    """What is known of a clip; nothing where the catalog has it no longer."""
    if clip is None:
        return Parent("unknown")
    return Parent(
        clip["uri"],
        clip["label"] or "",
        clip["licence"],
        clip["attribution"],
        tuple(clip["words"]),
    )
