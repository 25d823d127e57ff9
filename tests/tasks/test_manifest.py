"""Manifests in CSV and Parquet: what they say of a folder, or which sources there are."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.rejects import Rejected
from tasks.manifest import ManifestError, facts_said, read_manifest
from tasks.scan import ScanConfig, list_folder, scan_file
from tests.made_archives import write_tar


def listed(folder: Path, name: str, **fields: Any) -> dict[str, dict[str, Any]]:
    rows = list_folder(ScanConfig(folder=str(folder), manifest=name, **fields)).to_pylist()
    return {row["uri"]: row for row in rows}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A manifest in the format of its suffix."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_manifest_of_uris_lists_the_sources_wherever_they_lie(tmp_path: Path, name: str) -> None:
    archive, elsewhere = tmp_path / "archive", tmp_path / "else where"
    archive.mkdir()
    elsewhere.mkdir()
    (archive / "not-listed.mp4").write_bytes(b"x")
    for file in ("a.mp4", "b #%.mp4", "take.bin"):
        (elsewhere / file).write_bytes(file.encode())
    (elsewhere / "a.txt").write_text("said in a")
    tar = write_tar(elsewhere / "c.tar", {"x/1.mp4": b"1", "x/1.txt": b"one", "2.raw": b"2"})
    whole = write_tar(elsewhere / "d.tar", {"3.mp4": b"3", "3.json": b'{"license": "CC0"}'})
    rows = [
        {"uri": f"{elsewhere}/a.mp4", "license": "CC-BY-4.0", "speaker": "Ada"},
        {"uri": (elsewhere / "b #%.mp4").as_uri(), "license": "CC0", "speaker": ""},
        {"uri": f"{elsewhere}//take.bin", "license": "", "speaker": ""},
        {"uri": f"tar://{str(tar).replace(' ', '%20')}#/x/1.mp4", "license": "MIT", "speaker": ""},
        {"uri": f"tar://{str(tar).replace(' ', '%20')}#/2.raw", "license": "", "speaker": ""},
        {"uri": str(whole), "license": "", "speaker": "Bo"},
    ]
    path = write(archive / name, rows)
    found = listed(archive, name)
    inside = f"tar://{str(elsewhere).replace(' ', '%20')}"
    expected = [f"{elsewhere}/{file}" for file in ("a.mp4", "b #%.mp4", "take.bin")]
    expected += [
        f"{inside}/{place}" for place in ("c.tar#/2.raw", "c.tar#/x/1.mp4", "d.tar#/3.mp4")
    ]
    assert list(found) == expected
    assert {row["listed_in"] for row in found.values()} == {str(path)}
    licences = [row["licence"] for row in found.values()]
    assert licences == ["CC-BY-4.0", "CC0", None, None, "MIT", "CC0"]
    assert found[expected[0]]["speaker"] == "Ada"
    assert found[expected[-1]]["speaker"] == "Bo"
    assert found[expected[0]]["transcript"] == "said in a"
    assert found[expected[4]]["transcript"] == "one"
    assert all(scan_file(row)["files"] for row in found.values())


def test_a_listed_source_that_is_not_there_costs_itself_only(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    tar = write_tar(tmp_path / "c.tar", {"1.mp4": b"1"})
    uris = [f"{tmp_path}/a.mp4", f"{tmp_path}/gone.mp4", f"tar://{tar}#/2.mp4",
            f"tar://{tmp_path}/gone.tar#/1.mp4", f"{tmp_path}/gone.tar"]  # fmt: skip
    write(tmp_path / "list.csv", [{"uri": uri} for uri in uris])
    rows = listed(tmp_path, "list.csv")
    assert set(rows) == set(uris)
    assert scan_file(rows.pop(uris[0]))["files"]
    for row in rows.values():
        with pytest.raises(Rejected) as caught:
            scan_file(row)
        assert caught.value.reason == "missing"


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("https://example.org/a.mp4", r"row 2: uri 'https://example.org/a.mp4': only absolute"),
        ("a.mp4", r"row 2: uri 'a.mp4' is relative; give an absolute path"),
        ("tar:///a.tar", r"row 2: uri 'tar:///a.tar': give tar:///absolute/path#/name"),
        ("file://server/a.mp4", r"row 2: file://server/a.mp4: only local paths"),
    ],
)
def test_a_uri_that_cannot_be_read_is_named_with_its_row(
    tmp_path: Path, uri: str, why: str
) -> None:
    path = write(tmp_path / "list.csv", [{"uri": uri}])
    with pytest.raises(ManifestError, match=why) as caught:
        read_manifest(tmp_path, "list.csv")
    assert str(caught.value).startswith(f"manifest {path}: ")


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
@pytest.mark.parametrize("column", ["uri", "path"])
def test_rows_of_one_source_that_disagree_are_named_and_equal_ones_are_one(
    tmp_path: Path, name: str, column: str
) -> None:
    rows = [{column: "/a.mp4", "licence": "CC0"}] * 2
    write(tmp_path / name, rows)
    assert len(read_manifest(tmp_path, name).said) == 1
    write(tmp_path / name, [*rows, {column: "/a.mp4", "licence": "CC-BY-4.0"}])
    last, first = (4, 2) if name == "list.csv" else (3, 1)
    with pytest.raises(
        ManifestError, match=rf"row {last} says other things of /a.mp4 than row {first}"
    ):
        read_manifest(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("list.parquet", b"PAR1 no more", "not Parquet that can be read"),
        ("list.csv", b"uri,licence\n,CC0\n", "no row has a uri"),
        ("list.csv", b"licence\nCC0\n", r"the column `path` is missing \(or `uri`"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ManifestError, match=why):
        read_manifest(tmp_path, name)


def test_globs_beside_a_list_of_uris_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "list.csv", [{"uri": "/a.mp4"}])
    with pytest.raises(ValueError, match=r"scan.globs: manifest .*list.csv lists the sources"):
        listed(tmp_path, "list.csv", globs=("*.mp4",))


def test_a_parquet_manifest_of_paths_says_something_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.mp4").write_bytes(b"a")
    write(tmp_path / "m.parquet", [{"path": "sub/a.mp4", "sentence": "words", "speaker": 3}])
    (row,) = listed(tmp_path, "m.parquet").values()
    assert (row["transcript"], row["speaker"], row["listed_in"]) == ("words", "3", None)


@pytest.mark.parametrize("name", ["said.csv", "said.parquet"])
def test_a_manifest_may_name_the_split_and_the_truth_of_a_source(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    (tmp_path / "b.mp4").write_bytes(b"b")
    long = json.dumps({"text": "word " * 40_000})
    rows = [
        {"path": "a.mp4", "split": "test", "truth": long},
        {"path": "b.mp4", "split": " ", "truth": ""},
    ]
    write(tmp_path / name, rows)
    found = [(row["split"], row["truth"]) for row in listed(tmp_path, name).values()]
    assert found == [("test", long), (None, None)]
    write(tmp_path / name, [{"path": "a.mp4", "split": "dev"}])
    with pytest.raises(ManifestError, match=r"split 'dev': give train, validation, test"):
        listed(tmp_path, name)


def test_a_split_inside_a_tar_or_a_dataset_is_not_ours(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"x.mp4": b"x", "x.json": b'{"split": "dev", "license": "CC0"}'})
    (row,) = listed(tmp_path, "manifest.csv").values()
    assert (row["split"], row["licence"]) == (None, "CC0")


def test_our_own_name_of_a_column_comes_before_other_spellings() -> None:
    assert facts_said({"license": "a", "licence": "b"}) == {"licence": "b"}
    assert facts_said({"license": "a", "licence": "", "speaker": True, "text": None}) == {
        "licence": "a"
    }
