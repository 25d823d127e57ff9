"""Whose metadata an object store's tables belong to.

Two catalogs over one set of data files would take each other's files for orphans, and so would two
copies of one SQLite file. The first catalog leaves a note in the store; whoever comes with another
one is refused before anything is written, and a restored backup takes the note over.
"""

import json
import secrets
import socket

from storage.postgres import Database
from storage.workspace import Workspace, write_atomically

NOTE = "catalog.json"
TOKEN = "owner"
SQLITE = "sqlite"


class CatalogElsewhere(RuntimeError):
    """The metadata of a workspace in an object store are not here."""


def check_claim(workspace: Workspace) -> None:
    """Checks that the store's tables are those of the catalog here, or nobody's.

    Does nothing in a local workspace. Raises CatalogElsewhere where they belong to another catalog,
    and StoreError where the store does not answer.
    """
    if not workspace.data_url:
        return
    workspace.store.check()
    note, own = _note(workspace), _metadata(workspace)
    if note is None or note["metadata"] == own != SQLITE:
        return
    if note["metadata"] != SQLITE:
        raise CatalogElsewhere(
            f"workspace {workspace}: its catalog's metadata are in {note['metadata']}; give that "
            "as --catalog"
        )
    if own != SQLITE or note["owner"] != _token(workspace):
        raise CatalogElsewhere(
            f"workspace {workspace}: its catalog's metadata are in SQLite on {note['machine']}, in "
            f"{note['folder']}, which is the one place to work from; restore a backup of them here "
            "with `talkies catalog restore`, or make the workspace anew with --catalog "
            "postgresql://…, which any machine opens"
        )


def claim(workspace: Workspace, again: bool = False) -> None:
    """Leaves the note in the store, unless there is one or `again` says to take it over.

    Does nothing in a local workspace.
    """
    if not workspace.data_url or (not again and _note(workspace) is not None):
        return
    token = _token(workspace) or secrets.token_hex(8)
    if again:
        token = secrets.token_hex(8)
    write_atomically(workspace.root / TOKEN, token.encode())
    note = {
        "metadata": _metadata(workspace),
        "machine": socket.gethostname(),
        "folder": str(workspace.root),
        "owner": token,
    }
    workspace.store.upload_bytes(json.dumps(note, indent=1).encode(), NOTE)


def _note(workspace: Workspace) -> dict[str, str] | None:
    store = workspace.store
    try:
        with store.open(NOTE) as file:
            return json.loads(bytes(file.read()).decode())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise CatalogElsewhere(f"{store.url}/{NOTE}: not a note of talkies: {error}") from None


def _metadata(workspace: Workspace) -> str:
    """Where the metadata are, in words that are the same from every machine and for every user."""
    return str(Database.at(workspace.catalog_url)) if workspace.catalog_url else SQLITE


def _token(workspace: Workspace) -> str:
    try:
        return (workspace.root / TOKEN).read_text("utf-8")
    except FileNotFoundError:
        return ""
