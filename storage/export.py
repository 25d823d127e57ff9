"""The catalog as plain files: one Parquet file a table, and a DuckDB file of views over them.

The DuckDB file is in the storage format of DuckDB 1.0, which 1.5 and 2.0 open, and needs no
extension. Its views name the files relative to the exported folder, because a view cannot know
where its database lies: DuckDB looks from its working directory, or from `file_search_path`.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from storage.catalog import Catalog
from storage.catalog_page import page
from storage.lake import SETTINGS
from storage.schema import SCHEMA_VERSION, TABLES, VIEWS

STORAGE_VERSION = "v1.0.0"
ROW_GROUP_ROWS = 122_880
README = """# A talkies catalog as plain files

Catalog snapshot {snapshot}, schema version {version}. `tables/` holds one Parquet file a table;
`catalog.duckdb` holds views over them, for DuckDB 1.5 and 2.0, without extensions. catalog.md says
what each table, view and column means. References to blobs, shards and checkpoints are relative to
the workspace, which is not in here.

The folder can be moved as a whole. The views look for `tables/` from the working directory, so open
them from here, or say where they are:

    cd DIR && duckdb -readonly catalog.duckdb "FROM funnel"
    duckdb -readonly DIR/catalog.duckdb -c "SET file_search_path = 'DIR'" -c "FROM funnel"

    connection = duckdb.connect("DIR/catalog.duckdb", read_only=True)
    connection.execute("SET file_search_path = 'DIR'")
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        folder: where it lies.
        snapshot: of the catalog, one for all tables.
        rows: of each table.
        size_bytes: of all files.
    """

    folder: Path
    snapshot: int
    rows: dict[str, int]
    size_bytes: int


def export_catalog(catalog: Catalog, folder: Path) -> Exported:
    """Writes all tables as of one snapshot into a new folder, which appears whole or not at all.

    Rows are in order of their table's key. Raises FileExistsError for a folder that has files.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not an empty folder; name a new one")
    made = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    (made / "tables").mkdir(parents=True)
    try:
        snapshot = _write_tables(catalog, made / "tables")
        _write_views(made)
        (made / "README.md").write_text(README.format(snapshot=snapshot, version=SCHEMA_VERSION))
        (made / "catalog.md").write_text(page())
        made.replace(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    rows = {name: pq.read_metadata(_file(folder, name)).num_rows for name in TABLES}
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Exported(folder, snapshot, rows, size_bytes)


def _file(folder: Path, table: str) -> Path:
    return folder / "tables" / f"{table}.parquet"


def _write_tables(catalog: Catalog, folder: Path) -> int:
    """Writes the tables within one transaction, so that all are of one snapshot; returns it."""
    catalog.connection.execute("BEGIN")
    try:
        snapshot = int(catalog.value("SELECT id FROM ducklake_current_snapshot('lake')"))
        for table in TABLES.values():
            names = ", ".join(f'"{column.name}"' for column in table.columns)
            path = str(folder / f"{table.name}.parquet").replace("'", "''")
            catalog.connection.execute(
                f"COPY (SELECT {names} FROM lake.{table.name} ORDER BY {', '.join(table.key)}) "
                f"TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
            )
    finally:
        catalog.connection.execute("ROLLBACK")
    return snapshot


def _write_views(folder: Path) -> None:
    """Writes the DuckDB file; its views are checked, and described like the catalog's own."""
    with duckdb.connect(config=dict(SETTINGS)) as connection:
        # DuckDB binds a view when it is made; what it keeps is the relative name.
        connection.execute("SET file_search_path = ?", [str(folder)])
        path = str(folder / "catalog.duckdb").replace("'", "''")
        connection.execute(f"ATTACH '{path}' AS made (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE made")
        for table in TABLES.values():
            connection.execute(
                f"CREATE VIEW {table.name} AS FROM read_parquet('tables/{table.name}.parquet')"
            )
        for view in VIEWS.values():
            connection.execute(f"CREATE VIEW {view.name} AS {view.sql}")
        for described in (*TABLES.values(), *VIEWS.values()):
            connection.execute(f"COMMENT ON VIEW {described.name} IS {_quoted(described.text)}")
            for column in described.columns:
                connection.execute(
                    f"COMMENT ON COLUMN {described.name}.{column.name} IS {_quoted(column.comment)}"
                )
        connection.execute("CHECKPOINT made")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
