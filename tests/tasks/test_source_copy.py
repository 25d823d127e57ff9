"""A film inside a tar goes through the stages as it does from a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.ids import sha256_file
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.decode import DecodeConfig, decode_item
from tasks.excerpt import excerpt
from tasks.probe import ProbeConfig, probe_item
from tasks.sandbox import close_zygotes
from tasks.scan import ScanConfig, list_folder, scan_file
from tests.made_archives import write_tar
from tests.made_media import Track, even_times, sine, write_media


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_media(path, even_times(25, 2), track=Track(sine(2, 48_000), 48_000))


def from_tar(folder: Path, data: bytes) -> dict[str, Any]:
    """The row of `files` of a film in a tar of its own."""
    folder.mkdir()
    write_tar(folder / "a.tar", {"s/film one.mp4": data})
    (row,) = list_folder(ScanConfig(folder=str(folder))).to_pylist()
    return scan_file(row)["files"][0]


def decode_of(row: dict[str, Any]) -> dict[str, Any]:
    """The item of the decode stage of a row of `files`."""
    facts = {name: row[name] for name in ("source_id",)} | {"item_id": row["source_id"]}
    listed = {"_size_bytes": row["size_bytes"], "_mtime_ns": row["mtime_ns"]}
    return facts | listed | {"_uri": row["uri"], "cost_s": 2.0}


def test_a_film_in_a_tar_is_probed_decoded_and_tried_as_from_a_folder(
    tmp_path: Path, film: Path
) -> None:
    row = from_tar(tmp_path / "tars", film.read_bytes())
    assert row["source_id"] == sha256_file(film)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    facts = film.stat()
    plain = row | {"uri": str(film), "size_bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}
    workspace, config = Workspace.at(tmp_path / "w").make(), DecodeConfig(max_faces=0)
    probed, decoded = [], []
    for source in (row, plain):
        probed += probe_item(source, ProbeConfig(), scratch)["sources"]
        decoded += decode_item(decode_of(source), config, workspace.root, scratch)["decodes"]
        cut = excerpt(source["uri"], scratch, "cut", 1.0, 0.5)
        assert Path(cut["path"]).stat().st_size > 0
        Path(cut["path"]).unlink()
    same = [{k: v for k, v in each.items() if k != "uri"} for each in probed]
    assert same[0] == same[1]
    measured = [{k: v for k, v in each.items() if k != "decode_cpu_s"} for each in decoded]
    assert measured[0] == measured[1]
    assert not list(scratch.iterdir())


def test_a_broken_film_in_a_tar_is_a_reject_that_names_the_member(
    tmp_path: Path, film: Path
) -> None:
    row = from_tar(tmp_path / "tars", film.read_bytes()[:600])
    with pytest.raises(Rejected) as caught:
        probe_item(row, ProbeConfig(), tmp_path)
    assert caught.value.message.startswith(f"member s/film one.mp4 of {tmp_path}/tars/a.tar: ")
    assert str(tmp_path / "source-") not in caught.value.message


def test_a_tar_that_changed_since_it_was_hashed_is_not_decoded(tmp_path: Path, film: Path) -> None:
    row = from_tar(tmp_path / "tars", film.read_bytes())
    write_tar(tmp_path / "tars" / "a.tar", {"s/film one.mp4": film.read_bytes() + b"more"})
    workspace = Workspace.at(tmp_path / "w").make()
    with pytest.raises(Rejected) as caught:
        decode_item(decode_of(row), DecodeConfig(max_faces=0), workspace.root, tmp_path)
    assert caught.value.reason == "changed"
