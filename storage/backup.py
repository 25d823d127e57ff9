"""Back up the catalog's metadata and put it back.

A backup is a SQLite file with the metadata's tables, copied from SQLite or from PostgreSQL, and a
manifest beside it. The data files are not copied: they are never changed once written, and `gc`
deletes them only after their grace period. A restore therefore refuses a backup whose data files
are gone.
"""

import datetime
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from storage.catalog import Catalog
from storage.claim import claim
from storage.ids import sha256_file
from storage.locks import Gate
from storage.postgres import Database
from storage.postgres_backup import dump, identity, is_dump, load
from storage.retry import retried
from storage.schema import SCHEMA_VERSION
from storage.shelf import Shelf
from storage.workspace import Workspace, write_atomically

FORMAT = 1
STAMP = "%Y%m%d-%H%M%S"


class BackupRefused(ValueError):
    """A backup that must not be put in place of this workspace's catalog."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    Attributes:
        format: version of the manifest.
        made_at: UTC, ISO 8601.
        catalog_uuid: identity of the catalog; copies of a workspace share it.
        schema_version: version of the tables.
        snapshot: newest snapshot.
        sha256: of the backup file.
        size_bytes: of the backup file.
    """

    format: int
    made_at: str
    catalog_uuid: str
    schema_version: int
    snapshot: int
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Restore:
    """What a restore does, or would do.

    Attributes:
        path: the backup file.
        manifest: what it holds.
        replaces_snapshot: newest snapshot of the catalog that it replaces; None where that one is
            missing or cannot be read.
        kept_at: where the replaced catalog is kept; empty where there was none.
        is_applied: it was done.
    """

    path: str
    manifest: Manifest
    replaces_snapshot: int | None
    kept_at: str
    is_applied: bool


def manifest_path(path: Path) -> Path:
    """The manifest beside a backup file."""
    return path.with_name(path.name + ".json")


def default_path(workspace: Workspace) -> Path:
    """A new name below the workspace's folder of backups."""
    return workspace.root / "backups" / f"catalog-{_now():{STAMP}}.sqlite"


def backup(catalog: Catalog, path: Path) -> Manifest:
    """Copies the metadata, at one moment and while others write, into a new file.

    Raises FileExistsError where the file is there, and CatalogUnreachable.
    """
    if path.exists() or manifest_path(path).exists():
        raise FileExistsError(f"{path}: there is a backup of this name; give another")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        _copy(catalog.workspace, temporary)
        with closing(_opened(temporary)) as copy:
            snapshot, uuid = _newest_snapshot(copy), _uuid(copy)
        _sync(temporary)
        version = catalog.value(
            f"SELECT max(version) FROM lake.schema_version AT (VERSION => {snapshot})"
        )
        made_at = _now().isoformat(timespec="seconds")
        size_bytes, sha256 = temporary.stat().st_size, sha256_file(temporary)
        manifest = Manifest(FORMAT, made_at, uuid, int(version), snapshot, sha256, size_bytes)
        # The manifest comes first: a backup without one is refused, and so half a backup is.
        write_atomically(manifest_path(path), (json.dumps(asdict(manifest), indent=2)).encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _publish(catalog.workspace, path)
    return manifest


def _copy(workspace: Workspace, path: Path) -> None:
    if workspace.catalog_url:
        dump(Database.at(workspace.catalog_url), path)
        return
    source = workspace.catalog_path
    with closing(_opened(source)) as live, closing(sqlite3.connect(path)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _publish(workspace: Workspace, path: Path) -> None:
    """Brings a backup below the workspace to where its files lie: this machine may be lost."""
    for part in (manifest_path(path), path):
        if part.resolve().is_relative_to(workspace.root):
            workspace.publish(part.resolve().relative_to(workspace.root).as_posix())


def _brought(workspace: Workspace, path: Path) -> Path:
    """The backup file; one that is named below a workspace in an object store is fetched."""
    ref = path.as_posix()
    if path.exists() or not workspace.data_url or not ref.startswith("backups/"):
        return path
    workspace.fetch(f"{ref}.json")
    return workspace.fetch(ref)


def restore(workspace: Workspace, path: Path, apply: bool = False) -> Restore:
    """Checks a backup; with apply, keeps all writers out and puts it in place of the catalog.

    The replaced catalog is kept beside the new one, or as another backup where the metadata lie in
    PostgreSQL. No reader may have a catalog in SQLite open.

    Raises FileNotFoundError where the backup or its manifest is missing, BackupRefused for one that
    is damaged, foreign, of another kind of database, newer than this talkies or without its data
    files, and WorkspaceBusy where another process writes.
    """
    path = _brought(workspace, path)
    manifest = _checked(workspace, path)
    if not apply:
        return _planned(workspace, path, manifest)
    with closing(Gate(workspace)) as gate, gate.alone():
        plan = _planned(workspace, path, manifest)
        if workspace.catalog_url:
            if plan.kept_at:
                with Catalog(workspace, read_only=True) as replaced:
                    backup(replaced, Path(plan.kept_at))
            with gate.committing():
                load(Database.at(workspace.catalog_url), path)
            return replace(plan, is_applied=True)
        temporary = workspace.root / ".catalog.sqlite.restoring"
        temporary.write_bytes(path.read_bytes())
        _sync(temporary)
        if plan.kept_at:
            _put_aside(workspace.catalog_path, Path(plan.kept_at))
        temporary.replace(workspace.catalog_path)
        claim(workspace, again=True)
        return replace(plan, is_applied=True)


@contextmanager
def safeguarded(catalog: Catalog) -> Iterator[None]:
    """Undoes maintenance that lost its connection to PostgreSQL and, with it, its new files.

    DuckLake deletes the files that it wrote where a COMMIT fails, also where the server made it and
    only its answer was lost; the replaced files are still there. The metadata are then put back as
    they were. For whoever keeps all writers out. A catalog in SQLite cannot come to this.
    """
    workspace = catalog.workspace
    if not workspace.catalog_url:
        yield
        return
    database, folder = Database.at(workspace.catalog_url), workspace.scratch("safeguard")
    dump(database, folder / "before.sqlite")
    try:
        yield
    except Exception:
        if retried(lambda: _lost(workspace, folder / "now.sqlite"), "the look for lost files"):
            retried(lambda: load(database, folder / "before.sqlite"), "the undoing")
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lost(workspace: Workspace, path: Path) -> bool:
    """Whether the catalog refers to data files that are gone."""
    path.unlink(missing_ok=True)
    dump(Database.at(workspace.catalog_url), path)
    with closing(_opened(path)) as now:
        return bool(_lost_files(now, workspace))


def _planned(workspace: Workspace, path: Path, manifest: Manifest) -> Restore:
    if workspace.catalog_url:
        known = identity(Database.at(workspace.catalog_url))
        kept = default_path(workspace).with_name(f"replaced-{_now():{STAMP}-%f}.sqlite")
        kept_at = str(kept) if known else ""
        return Restore(str(path), manifest, known[1] if known else None, kept_at, False)
    current = workspace.catalog_path
    kept = current.with_name(f"{current.name}.replaced-{_now():{STAMP}-%f}")
    kept_at = str(kept) if current.exists() else ""
    return Restore(str(path), manifest, _readable_snapshot(current), kept_at, False)


# -- checks ------------------------------------------------------------------------------------


def _checked(workspace: Workspace, path: Path) -> Manifest:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such backup")
    manifest = _manifest(path)
    if path.stat().st_size != manifest.size_bytes or sha256_file(path) != manifest.sha256:
        raise BackupRefused(f"{path}: damaged: its bytes do not match its manifest")
    if manifest.schema_version > SCHEMA_VERSION:
        raise BackupRefused(
            f"{path}: its schema version {manifest.schema_version} is newer than {SCHEMA_VERSION}, "
            "which this talkies knows; upgrade talkies"
        )
    try:
        with closing(_opened(path)) as copy:
            (state,) = copy.execute("PRAGMA integrity_check").fetchone()
            uuid, snapshot = _uuid(copy), _newest_snapshot(copy)
            is_of_server = is_dump(copy)
            lost = _lost_files(copy, workspace)
    except sqlite3.Error as error:
        raise BackupRefused(f"{path}: not a catalog: {error}") from None
    if state != "ok" or (uuid, snapshot) != (manifest.catalog_uuid, manifest.snapshot):
        raise BackupRefused(f"{path}: damaged: it is not what its manifest says")
    if is_of_server != bool(workspace.catalog_url):
        made, wanted = ("PostgreSQL", "SQLite") if is_of_server else ("SQLite", "PostgreSQL")
        raise BackupRefused(
            f"{path}: made of a catalog in {made}; this workspace's is in {wanted}: restore it "
            "in a workspace of its own kind"
        )
    own = _own_uuid(workspace)
    if own not in (None, uuid):
        raise BackupRefused(f"{path}: foreign: it belongs to another workspace's catalog")
    if lost:
        raise BackupRefused(
            f"{path}: {len(lost)} of its data files are gone, the first is {lost[0]}; "
            "use a newer backup"
        )
    return manifest


def _manifest(path: Path) -> Manifest:
    beside = manifest_path(path)
    if not beside.is_file():
        raise FileNotFoundError(f"{beside}: the manifest of the backup is missing")
    try:
        manifest = Manifest(**json.loads(beside.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise BackupRefused(f"{beside}: not a manifest: {error}") from None
    if manifest.format != FORMAT:
        raise BackupRefused(f"{beside}: format {manifest.format} is not {FORMAT}")
    return manifest


def _own_uuid(workspace: Workspace) -> str | None:
    if workspace.catalog_url:
        known = identity(Database.at(workspace.catalog_url))
        return known[0] if known else None
    return _readable_uuid(workspace.catalog_path)


def _readable_uuid(path: Path) -> str | None:
    try:
        with closing(_opened(path)) as connection:
            return _uuid(connection)
    except sqlite3.Error:
        return None


def _readable_snapshot(path: Path) -> int | None:
    try:
        with closing(_opened(path)) as connection:
            return _newest_snapshot(connection)
    except sqlite3.Error:
        return None


# -- DuckLake's metadata in SQLite ---------------------------------------------------------------


def _opened(path: Path) -> sqlite3.Connection:
    """A connection that makes no file; raises sqlite3.OperationalError where none is."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=30)


def _uuid(connection: sqlite3.Connection) -> str:
    """The identity of a catalog: DuckLake's id of its first schema."""
    row = connection.execute(
        "SELECT schema_uuid FROM ducklake_schema ORDER BY schema_id LIMIT 1"
    ).fetchone()
    return str(row[0]) if row else ""


def _newest_snapshot(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT max(snapshot_id) FROM ducklake_snapshot").fetchone()
    return int(row[0] or 0)


def _lost_files(connection: sqlite3.Connection, workspace: Workspace) -> list[str]:
    """The Parquet files that the newest snapshot of a catalog reads, and that are gone."""
    shelf = Shelf(workspace)
    names = _files(connection, workspace)
    return [name for name in names if shelf.data_file_bytes(name) is None]


def _files(connection: sqlite3.Connection, workspace: Workspace) -> Iterator[str]:
    """The full names of the Parquet files that the newest snapshot of a catalog reads."""
    for kind in ("ducklake_data_file", "ducklake_delete_file"):
        rows = connection.execute(
            f"""SELECT s.path, s.path_is_relative, t.path, t.path_is_relative,
                       f.path, f.path_is_relative
                FROM {kind} f JOIN ducklake_table t ON t.table_id = f.table_id
                     AND t.end_snapshot IS NULL
                JOIN ducklake_schema s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
                WHERE f.end_snapshot IS NULL"""
        )
        for row in rows:
            name = workspace.tables_url
            for part, is_relative in zip(row[::2], row[1::2], strict=True):
                name = f"{name.rstrip('/')}/{part}" if is_relative else part
            yield name


# -- files -------------------------------------------------------------------------------------


def _put_aside(current: Path, kept: Path) -> None:
    """Moves a catalog to another name with everything that its write-ahead log holds."""
    try:
        with closing(_opened(current)) as connection:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        # Damaged: its files are kept as they are.
        busy = False
    if busy:
        raise BackupRefused(f"{current}: a reader has it open; close it and restore again")
    # A log that stayed would be replayed into the restored file.
    for ending in ("-wal", "-shm", ""):
        if (file := current.with_name(current.name + ending)).exists():
            file.rename(kept.with_name(kept.name + ending))


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
