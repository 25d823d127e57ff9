"""The fence around SQL: nothing is written, nothing outside the workspace is read, limits hold."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.catalog import Catalog
from storage.lake import CatalogMissing
from storage.sql import ALLOWED_FUNCTIONS, Refused, SqlLimits, read_only_query
from storage.workspace import Workspace
from tests.conftest import Place

SECRET = "the-planted-secret"
SMALL = SqlLimits(memory="64MB", timeout_s=0.5, threads=1, result_bytes=8 << 20)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Workspace:
    """A catalog with 100 rows in Parquet, and secrets of several kinds beside its workspace."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "secret.txt").write_text(SECRET)
    (folder / "secret.csv").write_text(f"a,b\n{SECRET},2\n")
    (folder / "secret.json").write_text(f'{{"a": "{SECRET}"}}')
    with sqlite3.connect(folder / "secret.sqlite") as database:
        database.execute("CREATE TABLE t (x TEXT)")
        database.execute("INSERT INTO t VALUES (?)", [SECRET])
    database.close()
    workspace = Workspace.at(place(folder / "workspace")).make()
    point = {"checkpoint_id": "c", "phase": "joint", "task": "all", "loss": 1.0, "run_id": "r"}
    with Catalog(workspace) as catalog:
        catalog.insert("losses", [point | {"step": step} for step in range(100)])
    return workspace


@pytest.fixture(scope="module")
def query(archive: Workspace) -> Callable[[str], pa.Table]:
    def run(sql: str) -> pa.Table:
        beside = str(archive.root.parent)
        return read_only_query(sql.replace("DIR", beside), archive, SMALL)

    return run


def contents(workspace: Workspace) -> dict[str, int]:
    """Every file beside and below the workspace, with its size; SQLite's own notes left out."""
    files = (path for path in workspace.root.parent.rglob("*") if path.is_file())
    return {str(p): p.stat().st_size for p in files if not p.name.endswith(("-shm", "-wal"))}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*) AS n FROM losses", [{"n": 100}]),
        ("select\n  max(step) n -- the last\nfrom lake.losses;", [{"n": 99}]),
        ("WITH a AS (SELECT step FROM losses) SELECT sum(step) AS n FROM a", [{"n": 4950}]),
        ("FROM reject_reasons", []),
        ("SELECT count(*) AS n FROM clips", [{"n": 0}]),
        ("SELECT unnest([1, 2]) AS n", [{"n": 1}, {"n": 2}]),
        ("SELECT sum(x) AS n FROM range(5) r(x)", [{"n": 10}]),
        ("VALUES (1)", [{"col0": 1}]),
        ("SELECT 'read_text(''/etc/passwd'')' AS n", [{"n": "read_text('/etc/passwd')"}]),
        ("SELECT count(*) AS n FROM losses AT (VERSION => 1)", [{"n": 0}]),
    ],
)
def test_a_select_over_the_catalog_gives_its_rows(
    query: Callable[[str], pa.Table], sql: str, expected: list[dict[str, int]]
) -> None:
    assert query(sql).to_pylist() == expected


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT * FROM losses",
        "explain analyze SELECT count(*) FROM losses",
        "DESCRIBE losses",
        "SUMMARIZE losses",
        "SHOW TABLES",
        "FROM lake.snapshots()",
    ],
)
def test_statements_that_only_look_are_let_through(
    query: Callable[[str], pa.Table], sql: str
) -> None:
    assert query(sql).num_rows > 0


def test_a_result_without_rows_has_its_columns(query: Callable[[str], pa.Table]) -> None:
    assert query("SELECT step FROM losses WHERE step < 0").column_names == ["step"]


ATTACKS = (
    "",
    ";",
    "SELEC 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE losses",
    "DROP TABLE losses",
    "DELETE FROM losses",
    "UPDATE losses SET step = 0",
    "INSERT INTO losses SELECT * FROM losses",
    "CREATE TABLE memory.x AS SELECT 1",
    "CREATE TEMP TABLE x AS SELECT 1",
    "WITH x AS (SELECT 1) INSERT INTO losses SELECT * FROM losses",
    "ATTACH 'DIR/secret.sqlite' AS s",
    "aTTach/**/'DIR/secret.sqlite' (TYPE sqlite)",
    "COPY losses TO 'DIR/out.csv'",
    "COPY (SELECT 1) TO 'DIR/workspace/tables/out.csv'",
    "COPY losses FROM 'DIR/secret.csv'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA database_list",
    "PRAGMA show_tables",
    "pragma threads = 9",
    "SET threads = 9",
    "RESET threads",
    "USE memory",
    "CALL pragma_version()",
    "CALL lake.snapshots()",
    "EXPORT DATABASE 'DIR/export'",
    "IMPORT DATABASE 'DIR/export'",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'DIR/workspace/tables/out.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'DIR/out.csv'",
    "EXPLAIN/**/ANALYZE/**/COPY (SELECT 1) TO 'DIR/workspace/tables/out.csv'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO 'DIR/workspace/tables/out.csv'",
    "EXPLAIN ANALYZE CREATE TABLE memory.x AS SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM losses",
    "SELECT getenv('HOME')",
    "SELECT * FROM read_text('DIR/secret.txt')",
    "SELECT * FROM READ_TEXT ( 'DIR/secret.txt' )",
    "SELECT * FROM read_text/* */('DIR/secret.txt')",
    "SELECT * FROM read_text--\n('DIR/secret.txt')",
    "SELECT * FROM \"read_text\"('DIR/secret.txt')",
    "SELECT * FROM main.\"Read_Text\"('DIR/secret.txt')",
    "SELECT * FROM system.main.read_text('DIR/secret.txt')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_csv('DIR/secret.csv')",
    "SELECT * FROM read_json('DIR/secret.json')",
    "SELECT * FROM sniff_csv('DIR/secret.csv')",
    "SELECT * FROM glob('DIR/*')",
    "SELECT * FROM \"glob\"('/etc/*')",
    "SELECT (SELECT content FROM read_text('DIR/secret.txt'))",
    "SELECT * FROM losses WHERE EXISTS (FROM \"read_text\"('DIR/secret.txt'))",
    "WITH a AS (FROM \"read_csv\"('DIR/secret.csv')) SELECT * FROM a",
    "DESCRIBE SELECT * FROM read_csv('DIR/secret.csv')",
    "SELECT * FROM sqlite_scan('DIR/secret.sqlite', 't')",
    "SELECT * FROM \"sqlite_scan\"('DIR/secret.sqlite', 't')",
    "SELECT * FROM sqlite_scan/**/('DIR/secret.sqlite', 't')",
    "EXPLAIN ANALYZE SELECT * FROM \"sqlite_scan\"('DIR/secret.sqlite', 't')",
    "SELECT * FROM losses, LATERAL (FROM \"sqlite_scan\"('DIR/secret.sqlite', 't'))",
    "SELECT * FROM \"sqlite_query\"('lake', 'SELECT 1')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM \"query\"('FROM \"sqlite_scan\"(''DIR/secret.sqlite'', ''t'')')",
    "SELECT * FROM query_table('losses')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT * FROM pandas_scan(1, 1, 1)",
    'SELECT * FROM "arrow_scan"(1, 1, 1)',
    "FROM ducklake_delete_orphaned_files('lake')",
    "FROM ducklake_expire_snapshots('lake')",
    "FROM duckdb_secrets()",
    "FROM '/etc/passwd'",
    "FROM 'DIR/secret.csv'",
    'FROM "DIR/secret.csv"',
    "FROM 'DIR/secret.json'",
    "FROM 'DIR/secret.sqlite'",
    "FROM 'DIR/workspace/tables/../../secret.csv'",
    "FROM 'file://DIR/secret.csv'",
    "FROM 'https://example.org/x.csv'",
    "FROM 's3://bucket/x.parquet'",
    "SELECT " + "1+" * 5000 + "1",
)


@pytest.mark.parametrize("sql", ATTACKS, ids=range(len(ATTACKS)))
def test_an_attack_is_refused_in_one_line_and_writes_and_reads_nothing(
    archive: Workspace, query: Callable[[str], pa.Table], sql: str
) -> None:
    before = contents(archive)
    with pytest.raises(Refused) as caught:
        query(sql)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert SECRET not in message
    assert contents(archive) == before


NOISE = st.sampled_from(["", " ", "\n", "\t", "/**/", "/* ( */", "--x\n"])
OUTSIDE = ("read_text", "read_blob", "read_csv", "read_parquet", "glob", "sqlite_scan", "query")


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(OUTSIDE),
    upper=st.lists(st.booleans(), min_size=12, max_size=12),
    quoted=st.booleans(),
    noise=st.tuples(NOISE, NOISE, NOISE),
    shape=st.sampled_from(["FROM {}", "SELECT (FROM {})", "WITH a AS (FROM {}) FROM a"]),
)
def test_no_spelling_of_a_function_gets_through(
    archive: Workspace,
    name: str,
    upper: list[bool],
    quoted: bool,
    noise: tuple[str, str, str],
    shape: str,
) -> None:
    flips = (upper * 2)[: len(name)]
    spelled = "".join(c.upper() if up else c for c, up in zip(name, flips, strict=True))
    spelled = f'"{spelled}"' if quoted else spelled
    secret = archive.root.parent / "secret.txt"
    call = f"{noise[0]}{spelled}{noise[1]}({noise[2]}'{secret}')"
    with pytest.raises(Refused, match=rf"{name}\(\) is not allowed"):
        read_only_query(shape.format(call), archive, SMALL)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT sleep_ms(60000)", "stopped after 0.5 s"),
        ("SELECT count(*) FROM range(100000) a, range(100000) b WHERE a.range ^ b.range = 1",
         "stopped after 0.5 s|more than 64MB"),
        ("SELECT list(range) FROM range(100000000)", "needs more than 64MB"),
        ("SELECT string_agg(repeat('x', 1000), '') FROM range(1000000)", "needs more than 64MB"),
        ("SELECT range FROM range(10000000) ORDER BY hash(range)", "needs more than 64MB"),
        ("SELECT * FROM range(100000000)", "larger than 8 MiB"),
    ],
)  # fmt: skip
def test_a_query_that_takes_too_much_is_refused_with_the_limit(
    query: Callable[[str], pa.Table], sql: str, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        query(sql)


def test_a_query_that_fails_behind_its_first_rows_is_refused_in_one_line(
    query: Callable[[str], pa.Table],
) -> None:
    with pytest.raises(Refused) as caught:
        query("SELECT CASE WHEN x > 90000 THEN error('late') ELSE x END FROM range(100000) r(x)")
    assert re.search("late", str(caught.value))
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused_with_what_was_meant(query: Callable[[str], pa.Table]) -> None:
    with pytest.raises(Refused, match=r"Did you mean .*losses"):
        query("SELECT * FROM lossez")


def test_python_variables_are_no_tables(query: Callable[[str], pa.Table]) -> None:
    limits = pa.table({"x": [SECRET]})
    assert limits.num_rows == 1
    with pytest.raises(Refused, match="does not exist"):
        query("SELECT * FROM limits")


def test_without_a_catalog_the_query_says_so(tmp_path: Path) -> None:
    with pytest.raises(CatalogMissing):
        read_only_query("SELECT 1", Workspace.at(tmp_path))


def test_no_allowed_function_has_a_file_or_a_text_of_sql_as_its_argument() -> None:
    risky = re.compile(r"read|scan|query|sql|glob|sniff|ducklake|secret|log|python|parquet")
    assert [name for name in sorted(ALLOWED_FUNCTIONS) if risky.search(name)] == []
