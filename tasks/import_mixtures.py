"""Take mixtures from JAMS documents: what talkies wrote comes back sample for sample.

A document of ours holds its recipe; it is checked against its id, its sounds are looked up by their
hashes, and what is rendered must have the hash that the document states. What Scaper wrote becomes
a new recipe. Nothing is added to the catalog.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soundfile import LibsndfileError

from storage.blobs import ref_of
from storage.catalog import Catalog
from storage.ids import mix_id
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.export_mixtures import VERIFY, Failure
from tasks.from_scaper import recipe_of
from tasks.jams import BadJams, Document, Read, document_of, encoded, is_ours, parsed, read
from tasks.media import existing_blob
from tasks.mix import render_parents, rendered_by, require_levels, row_of
from tasks.mix_form import BadRecipe
from tasks.mix_plan import MixConfig, Recipe
from tasks.mix_render import Rendered
from tasks.mixture_files import Wanted, files_of, name_of, places_of, write_unless_there


@dataclass(frozen=True, slots=True)
class Taken:
    """A mixture that was rendered from a document.

    Attributes:
        file: the document.
        mix_id: of its recipe.
        regime: the law of its level; `scaper` for what Scaper wrote.
        is_identical: the samples have the hash that the document states; None where it states none.
        output_sha256: of the samples.
        notes: what had to be changed, in words.
    """

    file: str
    mix_id: str
    regime: str
    is_identical: bool | None
    output_sha256: str
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Imported:
    """What an import did."""

    taken: list[Taken] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Mixture:
    """A rendered mixture, and what is written of it."""

    recipe: Recipe
    done: Rendered
    split: str
    document: Document
    is_identical: bool | None
    notes: tuple[str, ...]


def import_mixtures(
    workspace: Workspace,
    files: Sequence[Path],
    wanted: Wanted | None,
    tell: Callable[[int, int, str], None],
) -> Imported:
    """Checks and renders the mixtures of JAMS files; those that fail are told, not raised.

    Args:
        workspace: that holds the sounds.
        files: the documents.
        wanted: what is written of each, and where; None writes nothing.
        tell: called with how many are done, how many there are, and the newest.
    """
    imported = Imported()
    for number, file in enumerate(files, start=1):
        try:
            mixture = _mixture(workspace, parsed(_bytes_of(file)), file.stem)
            if wanted is not None:
                _write(mixture, wanted)
            imported.taken.append(
                Taken(
                    str(file),
                    mix_id(mixture.recipe),
                    mixture.recipe["regime"],
                    mixture.is_identical,
                    mixture.done.sha256(),
                    mixture.notes,
                )
            )
        except (BadJams, BadRecipe) as error:
            imported.failures.append(Failure(str(file), "jams", str(error)))
        except Rejected as error:
            imported.failures.append(Failure(str(file), error.reason, error.message))
        except FileNotFoundError as error:
            imported.failures.append(Failure(str(file), "missing", str(error)))
        except LibsndfileError as error:
            message = f"a sound of it is damaged: {error}; {VERIFY}"
            imported.failures.append(Failure(str(file), "content_hash", message))
        except Exception as error:
            error.add_note(f"file {file}")
            raise
        tell(number, len(files), file.name)
    return imported


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise Rejected(reason, f"{file}: {error.strerror}; name a .jams file") from None


def _mixture(workspace: Workspace, document: Document, stem: str) -> _Mixture:
    root = str(workspace.root)
    if is_ours(document):
        said = read(document)
        _require_parents(workspace, said)
        done = _rendered(root, said.recipe)
        if done.sha256() != said.output_sha256:
            raise Rejected(
                "content_hash",
                f"mixture {mix_id(said.recipe)}: its samples are not those that were exported, "
                f"which were rendered by {said.rendered_by}; this is {rendered_by()}",
            )
        return _Mixture(said.recipe, done, said.split, document, True, ())
    with Catalog(workspace, read_only=True) as catalog:
        mapped = recipe_of(catalog, document)
    done = _rendered(root, mapped.recipe)
    require_levels(done.measures, mapped.recipe, MixConfig())
    row = row_of({"item_id": stem, "split": mapped.split}, mapped.recipe, done)
    made = document_of(row, mapped.parents)
    return _Mixture(mapped.recipe, done, mapped.split, made, None, mapped.notes)


def _rendered(workspace_root: str, recipe: Recipe) -> Rendered:
    """The mixture of a recipe from outside, in which a number may be what cannot be rendered."""
    try:
        return render_parents(workspace_root, recipe)
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecipe(f"the recipe cannot be rendered: {error}") from error


def _require_parents(workspace: Workspace, said: Read) -> None:
    """Raises Rejected("missing"), naming the sound and the mend, where one is not here."""
    recipe = said.recipe
    wanted = {
        f"{name} clip {recipe[name]['clip_id']} of {said.uris[name]}": recipe[name]["audio_sha256"]
        for name in ("speech", "ambience")
        if recipe[name]
    }
    if recipe["speech"] and (room := recipe["speech"]["room"]):
        wanted[f"room {room['room_id']}"] = room["response_sha256"]
    for what, digest in wanted.items():
        try:
            existing_blob(workspace.root, ref_of(digest, ".flac"))
        except FileNotFoundError:
            raise Rejected(
                "missing",
                f"{what}: its sound {digest[:12]}…, {recipe['rate_hz']} Hz, is not in {workspace}; "
                "build with it first, or name the workspace that it was exported from",
            ) from None


def _write(mixture: _Mixture, wanted: Wanted) -> None:
    places = places_of(mixture.recipe, mixture.split, wanted)
    rate_hz = mixture.recipe["rate_hz"]
    made: dict[str, Any] = files_of(mixture.done, rate_hz, tuple(places), wanted.audio_format)
    for part, place in places.items():
        write_unless_there(wanted.out / place, made[part])
    if wanted.jams:
        name = name_of(mixture.recipe, mixture.split)
        write_unless_there(wanted.out / f"{name}.jams", encoded(mixture.document))
