"""The exported catalog: plain files that a DuckDB without extensions reads wherever they lie."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import typer

from flows import cli_export, console
from flows.cli import guarded
from storage.catalog import Catalog
from storage.export import Exported, export_catalog
from storage.lake import SETTINGS
from storage.migrate import migrate, version_of
from storage.schema import TABLES, VIEWS
from storage.workspace import Workspace
from tests.conftest import Place
from tests.made_rows import insert_all, made_rows, mixture_rows, sight_rows

MORE = (sight_rows(), mixture_rows())


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Catalog]:
    with Catalog(Workspace.at(place(tmp_path_factory.mktemp("export"))).make()) as opened:
        insert_all(opened)
        for more in MORE:
            for table, rows in more.items():
                opened.insert(table, rows)
        yield opened


@pytest.fixture(scope="module")
def exported(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_catalog(catalog, tmp_path_factory.mktemp("out") / "plain")


@pytest.fixture
def moved(exported: Exported, tmp_path: Path) -> Path:
    """The exported folder at another place; it is not at its first place during the test."""
    shutil.copytree(exported.folder, tmp_path / "moved's")
    return tmp_path / "moved's"


def opened(folder: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(folder / "catalog.duckdb", read_only=True, config=dict(SETTINGS))


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_one_parquet_file_with_its_rows_in_order_of_its_key(
    exported: Exported, table: str
) -> None:
    read = pq.read_table(exported.folder / "tables" / f"{table}.parquet")
    assert read.column_names == [column.name for column in TABLES[table].columns]
    assert (
        read.num_rows
        == exported.rows[table]
        == sum(len(rows.get(table, [])) for rows in (made_rows(), *MORE))
    )
    keys = [tuple(row[name] for name in TABLES[table].key) for row in read.to_pylist()]
    assert keys == sorted(keys)


def test_the_snapshot_is_the_catalogs(catalog: Catalog, exported: Exported) -> None:
    assert exported.snapshot == catalog.snapshot()
    files = [path for path in exported.folder.rglob("*") if path.is_file()]
    assert exported.size_bytes == sum(path.stat().st_size for path in files)


def test_every_view_answers_as_in_the_catalog(
    catalog: Catalog, moved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(moved)
    with opened(Path()) as plain:
        for name in (*TABLES, *VIEWS):
            everything = f"FROM {name} ORDER BY ALL"
            assert (
                plain.execute(everything).to_arrow_table().to_pylist()
                == catalog.arrow(everything).to_pylist()
            ), name
        for view in VIEWS.values():
            assert plain.execute(view.query).fetchall()
        loaded = "SELECT extension_name FROM duckdb_extensions() WHERE loaded AND install_mode "
        assert not plain.execute(loaded + "IS DISTINCT FROM 'STATICALLY_LINKED'").fetchall()


def test_from_elsewhere_the_search_path_says_where_the_files_are(
    moved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    with opened(moved) as plain:
        with pytest.raises(duckdb.IOException, match=r"No files found .*tables/"):
            plain.execute("FROM funnel")
        plain.execute("SET file_search_path = ?", [str(moved)])
        assert len(plain.execute("FROM funnel").fetchall()) == 9
    with duckdb.connect(config=dict(SETTINGS)) as other:
        other.execute("SET file_search_path = ?", [str(moved)])
        other.execute(f"ATTACH '{str(moved).replace(chr(39), chr(39) * 2)}/catalog.duckdb' AS them")
        assert len(other.execute("FROM them.funnel").fetchall()) == 9


def test_the_file_has_the_storage_format_of_duckdb_1_0(moved: Path) -> None:
    # Four bytes behind the check sum and the magic: 64 is 0.9 to 1.1, which all later ones open.
    header = (moved / "catalog.duckdb").read_bytes()[:20]
    assert header[8:12] == b"DUCK"
    assert int.from_bytes(header[12:20], "little") == 64


def test_views_and_columns_are_described_in_the_file(
    moved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(moved)
    with opened(Path()) as plain:
        rows = plain.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
    told = {(table, column): comment for table, column, comment in rows}
    for name, described in (TABLES | VIEWS).items():
        for column in described.columns:
            assert told[name, column.name] == column.comment
    assert "## clips" in (moved / "catalog.md").read_text()
    assert "file_search_path" in (moved / "README.md").read_text()


def test_no_folder_of_the_machine_is_in_the_files(exported: Exported) -> None:
    for path in exported.folder.rglob("*"):
        if path.is_file():
            assert str(exported.folder).encode() not in path.read_bytes()
            assert os.path.sep + "tables" + os.path.sep not in path.read_text("latin-1").replace(
                "`tables/`", ""
            )


def test_a_folder_with_files_is_refused_and_a_failure_leaves_nothing(
    catalog: Catalog, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileExistsError, match="is not an empty folder; name a new one"):
        export_catalog(catalog, exported.folder)
    monkeypatch.setitem(VIEWS, "clips", VIEWS["funnel"])
    with pytest.raises(duckdb.Error):
        export_catalog(catalog, tmp_path / "plain")
    assert not list(tmp_path.iterdir())
    # The catalog can be read and written as before: no transaction was left open.
    with catalog.transaction():
        assert catalog.value("SELECT count(*) FROM windows") == 5


def test_the_same_catalog_gives_the_same_tables(
    catalog: Catalog, exported: Exported, tmp_path: Path
) -> None:
    again = export_catalog(catalog, tmp_path / "again")
    for table in TABLES:
        name = f"tables/{table}.parquet"
        assert (again.folder / name).read_bytes() == (exported.folder / name).read_bytes()


def test_the_command_says_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.Given, "debug", False)
    with Catalog(Workspace.at(tmp_path / "w").make()) as catalog:
        if (version := version_of(catalog.connection)) < 2:
            migrate(catalog.connection, version)
    app = typer.Typer()
    app.command()(cli_export.export)

    def export(*words: str) -> int:
        options = ["--workspace", str(tmp_path / "w"), *words]
        return guarded(lambda: app([str(tmp_path / "plain"), *options], standalone_mode=False))

    assert export() == console.DONE
    assert f"{len(TABLES)} tables, 0 rows" in capsys.readouterr().out
    assert (tmp_path / "plain" / "catalog.duckdb").exists()
    assert export() == console.FAILED
    assert "is not an empty folder" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "plain")
    assert export("--json") == console.DONE
    assert '"windows": 0' in capsys.readouterr().out
