"""Let go of this machine's copies of files that lie safely in an object store.

A copy goes only where the store has an object of its name and size; what was not uploaded stays,
and so does what was used a short while ago. Whoever needs a file again fetches it again.
"""

import time
from dataclasses import dataclass

from storage.store import Entry, remove
from storage.workspace import Workspace

FOLDERS = ("blobs", "shards", "soundtracks", "reports", "checkpoints")
# Who fetched a copy may still be about to open it.
IN_USE_S = 3600.0
DAY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Eviction:
    """What an eviction found.

    Attributes:
        refs: copies that go, or would; a checkpoint is one.
        size_bytes: their size.
        kept_bytes: size of all copies that stay.
        waiting: references of files that are not in the store as they are here, and stay.
        is_applied: it was done.
    """

    refs: tuple[str, ...]
    size_bytes: int
    kept_bytes: int
    waiting: tuple[str, ...]
    is_applied: bool


def evict(
    workspace: Workspace,
    keep_bytes: int | None = None,
    unused_s: float | None = None,
    apply: bool = False,
    in_use_s: float = IN_USE_S,
) -> Eviction:
    """Finds the copies to let go of; with `apply`, deletes them here and nowhere else.

    Args:
        workspace: in an object store; in a local one there are no copies, and nothing is found.
        keep_bytes: the least recently used go until the rest is no larger than this.
        unused_s: copies that were not used for so long go too.
        apply: delete.
        in_use_s: copies that were used since stay in any case.
    """
    if not workspace.data_url:
        return Eviction((), 0, 0, (), apply)
    now = time.time()
    copies, waiting = _copies(workspace)
    copies.sort(key=lambda copy: copy.changed_s)
    left = sum(copy.size_bytes for copy in copies)
    going: list[Entry] = []
    for copy in copies:
        idle_s = now - copy.changed_s
        is_too_old = unused_s is not None and idle_s >= unused_s
        is_too_much = keep_bytes is not None and left > keep_bytes
        if idle_s >= in_use_s and (is_too_old or is_too_much):
            going.append(copy)
            left -= copy.size_bytes
    if apply:
        for copy in going:
            remove(workspace.path(copy.ref))
    size_bytes = sum(copy.size_bytes for copy in going)
    refs = tuple(sorted(copy.ref for copy in going))
    return Eviction(refs, size_bytes, left, tuple(sorted(waiting)), apply)


def _copies(workspace: Workspace) -> tuple[list[Entry], list[str]]:
    """The copies that are safely in the store, and the references of those that are not."""
    there: dict[str, int] = {}
    for name in FOLDERS:
        there |= {entry.ref: entry.size_bytes for entry in workspace.listing(name)}
    parts: dict[str, list[Entry]] = {}
    for name in FOLDERS:
        for entry in workspace.copies(name):
            # A checkpoint is read as a folder: a part of one would be taken for the whole.
            whole = "/".join(entry.ref.split("/")[:2]) if name == "checkpoints" else entry.ref
            parts.setdefault(whole, []).append(entry)
    safe, waiting = [], []
    for ref, entries in parts.items():
        if any(there.get(entry.ref) != entry.size_bytes for entry in entries):
            waiting.append(ref)
            continue
        used_s = max(workspace.path(ref).stat().st_mtime, *(entry.changed_s for entry in entries))
        safe.append(Entry(ref, sum(entry.size_bytes for entry in entries), used_s))
    return safe, waiting
