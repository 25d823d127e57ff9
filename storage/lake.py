"""How the catalog's DuckLake is reached: its extensions, where its metadata lies, its ATTACH.

The metadata lies in SQLite below the workspace's folder, or in a schema of a PostgreSQL database.
What else the attached lake needs is one function each: `_metadata` says where the metadata is,
`data_path` where the Parquet files are. An object store's endpoint and secret go into
`open_connection`, after the extensions, so that every connection has them before it attaches.
"""

import glob
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from storage.httpfs import open_store
from storage.postgres import Database
from storage.workspace import Workspace

EXTENSIONS = ("ducklake", "sqlite_scanner", "postgres_scanner", "httpfs")
LAKE = "lake"
# What DuckLake calls the database with its own tables.
METADATA = f"__ducklake_metadata_{LAKE}"
SECRET = "talkies_catalog"
ALL_ROWS = 1_000_000_000
SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # A retried shard writes the same path again; the cache would give parts of the old file.
    "enable_external_file_cache": "false",
    # Secrets that a person keeps in ~/.duckdb are theirs.
    "allow_persistent_secrets": "false",
}


# Extension files whose signature this process has checked: path, device, inode, bytes, change.
_checked: set[tuple[str, int, int, int, int]] = set()


class CatalogMissing(FileNotFoundError):
    """The workspace has no catalog yet."""


def extension_path(name: str) -> Path:
    """The file of a DuckDB extension inside its installed package.

    Raises ModuleNotFoundError with the package to install where it is missing.
    """
    package = f"duckdb_extension_{name}"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        wanted = package.replace("_", "-")
        raise ModuleNotFoundError(f"{wanted} is not installed; run `make setup`")
    folder = spec.submodule_search_locations[0]
    found = glob.glob(f"{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension")
    if not found:
        raise ModuleNotFoundError(
            f"{package} does not fit DuckDB {duckdb.__version__}; run `make setup`"
        )
    return Path(found[0])


def open_connection(workspace: Workspace) -> duckdb.DuckDBPyConnection:
    """A connection with the extensions that the workspace's catalog needs, nothing attached.

    Raises ModuleNotFoundError for a missing extension.
    """
    unneeded = {"sqlite_scanner" if workspace.catalog_url else "postgres_scanner"}
    if not workspace.data_url:
        unneeded.add("httpfs")
    connection = connection_with(*(name for name in EXTENSIONS if name not in unneeded))
    try:
        if workspace.catalog_url:
            connection.execute(Database.at(workspace.catalog_url).secret(SECRET))
            # A COMMIT over a network may be done although its answer is lost; DuckLake then deletes
            # the files that it wrote, so it writes none: small changes stay in its metadata.
            connection.execute(f"SET ducklake_default_data_inlining_row_limit = {ALL_ROWS}")
        # It would be drawn on the output stream, into a command's JSON.
        connection.execute("SET enable_progress_bar = false")
        # The rows that a transaction read are the newest ones, or it fails.
        connection.execute("SET ducklake_max_retry_count = 0")
        if workspace.data_url:
            open_store(connection, workspace.tables_url)
    except BaseException:
        connection.close()
        raise
    return connection


def connection_with(*extensions: str) -> duckdb.DuckDBPyConnection:
    """A connection with some of EXTENSIONS loaded, each signed by DuckDB's makers.

    A signature costs 0.1 CPU-seconds to check, so a process checks each file once. The code of a
    file that it checked is the code that it has in memory, whatever connection loads it again.
    Raises ModuleNotFoundError for a missing extension, and duckdb.Error for an unsigned one.
    """
    paths = [extension_path(name) for name in extensions]
    files = {_file_of(path) for path in paths}
    settings = SETTINGS | {"allow_unsigned_extensions": str(files <= _checked).lower()}
    connection = duckdb.connect(config=dict(settings))
    try:
        for path in paths:
            connection.execute(f"LOAD {quoted(path)}")
        # From here on no statement can allow them again: DuckDB takes that only at the start.
        connection.execute("SET allow_unsigned_extensions = false")
    except BaseException:
        connection.close()
        raise
    _checked.update(files)
    return connection


@contextmanager
def one_thread(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Lets DuckDB work on the calling thread alone, for statements of milliseconds.

    Where another thread has the only task, the calling one polls for it and burns as much: a small
    commit costs 2 to 4 times the CPU time on 2 to 8 threads, and more wall time where the machine
    is busy. The connection must be in no transaction.
    """
    row = connection.execute("SELECT current_setting('threads')").fetchone()
    threads = int(row[0]) if row else 1
    if threads == 1:
        yield
        return
    connection.execute("SET threads = 1")
    try:
        yield
    finally:
        with suppress(duckdb.Error):
            connection.execute(f"SET threads = {threads}")


def _file_of(path: Path) -> tuple[str, int, int, int, int]:
    told = path.stat()
    return str(path), told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


def is_there(workspace: Workspace) -> bool:
    """Whether the workspace has a catalog; raises CatalogUnreachable."""
    if workspace.catalog_url:
        return Database.at(workspace.catalog_url).has_lake()
    return workspace.catalog_path.exists()


def require_there(workspace: Workspace) -> None:
    """Raises CatalogMissing where there is no metadata to read, and makes none.

    Raises CatalogUnreachable where PostgreSQL cannot be asked.
    """
    if not is_there(workspace):
        if workspace.catalog_url:
            raise CatalogMissing(
                f"{place_of(workspace)} has no catalog; run `talkies demo` or `talkies build`, or "
                "look whether --catalog names the right database and schema"
            )
        raise CatalogMissing(
            f"workspace {workspace} has no catalog; run `talkies demo` or `talkies build`"
        )
    if not workspace.catalog_url and workspace.catalog_path.stat().st_size == 0:
        raise CatalogMissing(f"{workspace.catalog_path}: the catalog is empty")


def attach(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    read_only: bool = False,
    snapshot: int | None = None,
) -> None:
    """Attaches the catalog as `lake` and uses it; makes its metadata where none is.

    Raises CatalogUnreachable where PostgreSQL cannot be asked.
    """
    place, options = _metadata(workspace)
    # A workspace that was moved or copied keeps its old path in the metadata.
    options += [f"DATA_PATH {quoted(data_path(workspace))}", "OVERRIDE_DATA_PATH true"]
    if read_only:
        options.append("READ_ONLY")
    elif not workspace.catalog_url:
        options.append("META_JOURNAL_MODE 'WAL'")
    if workspace.catalog_url and not read_only:
        Database.at(workspace.catalog_url).make_schema()
    if snapshot is not None:
        options.append(f"SNAPSHOT_VERSION {int(snapshot)}")
    connection.execute(f"ATTACH {quoted(place)} AS {LAKE} ({', '.join(options)})")
    connection.execute(f"USE {LAKE}")


def detach(connection: duckdb.DuckDBPyConnection) -> None:
    """Detaches the catalog."""
    connection.execute("USE memory")
    connection.execute(f"DETACH {LAKE}")


def place_of(workspace: Workspace) -> str:
    """Where the metadata lies, for messages; without a password."""
    if workspace.catalog_url:
        return str(Database.at(workspace.catalog_url))
    return str(workspace.catalog_path)


def _metadata(workspace: Workspace) -> tuple[str, list[str]]:
    """The address of the metadata, and the options that belong to it."""
    if workspace.catalog_url:
        database = Database.at(workspace.catalog_url)
        schema = f"META_SCHEMA {quoted(database.schema)}"
        return f"ducklake:postgres:{database.conninfo}", [schema, f"META_SECRET {quoted(SECRET)}"]
    return f"ducklake:sqlite:{workspace.catalog_path}", []


def data_path(workspace: Workspace) -> str:
    """Where the Parquet files lie, with a slash at its end."""
    return workspace.tables_url


def quoted(text: str | Path) -> str:
    """A text as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"
