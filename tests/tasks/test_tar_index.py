"""Tars as sources: members by offset, what belongs to them, damage, and nothing else."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.ids import sha256_file
from storage.rejects import Rejected
from tasks.inside import Refusal, Slice
from tasks.scan import ScanConfig, list_folder, scan_file
from tasks.source_copy import local_source, sha256_source, source_chunks, source_facts
from tasks.source_uri import inside_uri, split_inside
from tasks.tar_index import tar_contents
from tests.made_archives import listed, why, write_special, write_tar

DATA = bytes(range(256)) * 9
SRT = "1\n00:00:01,000 --> 00:00:02,000\nGrüße\n".encode()


def test_media_members_are_sources_with_the_ids_of_their_bytes(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"x/one.mp4": DATA, "x/one.cls": b"3", "two.wav": b"sound"})
    (tmp_path / "same.mp4").write_bytes(DATA)
    rows = listed(tmp_path)
    assert set(rows) == {"x/one.mp4", "two.wav", "same.mp4"}
    member, file = (scan_file(rows[name])["files"][0] for name in ("x/one.mp4", "same.mp4"))
    assert member["source_id"] == file["source_id"] == sha256_file(tmp_path / "same.mp4")
    assert member["size_bytes"] == len(DATA)
    assert member["uri"] == f"tar://{tmp_path}/a.tar#/x/one.mp4"


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "name",
    ["a b.mp4", "it's \"#1\"%.mp4", "two\nlines.mp4", "ünï☃.mp4", "\udcff\udce9.mp4", "?#/x.mp4",
     "./dotted.mp4", "/etc/abs.mp4", "../../up.mp4", f"{'deep/' * 18}x.mp4"],
)  # fmt: skip
def test_a_member_with_an_odd_name_is_copied_into_the_scratch_folder_and_removed(
    tmp_path: Path, name: str, layout: int
) -> None:
    archive, scratch = tmp_path / "odd #%\nname", tmp_path / "scratch"
    scratch.mkdir()
    write_tar(archive / "a.tar", {name: DATA}, format=layout)
    (row,) = list_folder(ScanConfig(folder=str(archive))).to_pylist()
    assert row["uri"].encode("utf-8")
    source_id = scan_file(row)["files"][0]["source_id"]
    with local_source(row["uri"], scratch, source_id) as path:
        assert Path(path).read_bytes() == DATA
        assert Path(path).parent == scratch
        assert path.endswith(".mp4")
        assert os.stat(path).st_mtime_ns == row["mtime_ns"]
    assert not list(scratch.iterdir())
    assert {each.name for each in tmp_path.iterdir()} == {archive.name, "scratch"}


@given(st.text(max_size=20), st.text(min_size=1, max_size=20).filter(lambda t: "\0" not in t))
def test_what_lies_inside_a_file_can_be_a_uri_and_back(name: str, path: str) -> None:
    try:
        uri = inside_uri("tar", f"/{path}", name)
    except UnicodeEncodeError:
        return  # a lone surrogate that no file name holds
    assert uri.isascii()
    assert split_inside(uri) == (f"/{path}", name)


def test_what_belongs_to_a_member_by_key_is_its_licence_transcript_and_subtitles(
    tmp_path: Path,
) -> None:
    members = {
        "s/001.mp4": DATA, "s/001.json": b'{"license": "CC0", "speaker": 7, "consent": null}',
        "s/001.srt": SRT, "s/001.txt": b"plain  words",
        "s/002.left.wav": DATA, "s/002.json": b'{"licence": "CC-BY-4.0", "text": "said"}',
        "s/002.txt": b"not this",
        "s/003.mp4": DATA, "s/003.json": b"{damaged", "s/003.de.vtt": b"WEBVTT\n\n00:01.000 --> "
        b"00:02.000\nHallo\n",
        "t/001.mp4": DATA,
    }  # fmt: skip
    rows = listed(write_tar(tmp_path / "a.tar", members).parent)
    assert rows["s/001.mp4"]["licence"] == "CC0"
    assert rows["s/001.mp4"]["speaker"] == "7"
    assert rows["s/001.mp4"]["consent"] is None
    assert rows["s/001.mp4"]["transcript"] == "plain words"
    assert [cue["text"] for cue in rows["s/001.mp4"]["cues"]] == ["Grüße"]
    assert rows["s/002.left.wav"]["licence"] == "CC-BY-4.0"
    assert rows["s/002.left.wav"]["transcript"] == "said"
    assert [cue["language"] for cue in rows["s/003.mp4"]["cues"]] == ["de"]
    assert rows["t/001.mp4"]["licence"] is None


def test_a_tar_can_be_the_whole_source_and_globs_choose_its_members(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"x/a.mp4": DATA, "y/b.mp4": DATA, "c.wav": DATA})
    (tmp_path / "manifest.csv").write_text(
        f"path,licence\n{inside_uri('tar', path, 'c.wav')},CC0\na.mp4,no\n"
    )
    assert set(listed(path)) == {"x/a.mp4", "y/b.mp4", "c.wav"}
    assert listed(path)["c.wav"]["licence"] == "CC0"
    assert set(listed(path, globs=("x/*", "*.wav"))) == {"x/a.mp4", "c.wav"}
    with pytest.raises(ValueError, match=r"scan.globs: 'z/\*' matches no media file below .*a.tar"):
        listed(path, globs=("z/*",))


def test_of_two_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, {"a.mp4": b"before"})
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("a.mp4")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"after"))
    (row,) = list_folder(ScanConfig(folder=str(path))).to_pylist()
    assert b"".join(source_chunks(row["uri"])) == b"after"


def test_links_and_devices_in_a_tar_are_no_sources(tmp_path: Path) -> None:
    infos = []
    for kind, name in ((tarfile.SYMTYPE, "s.mp4"), (tarfile.LNKTYPE, "h.mp4"),
                       (tarfile.FIFOTYPE, "p.mp4"), (tarfile.CHRTYPE, "c.mp4"),
                       (tarfile.DIRTYPE, "d.mp4")):  # fmt: skip
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        infos.append(info)
    contents = tar_contents(str(write_special(tmp_path / "a.tar", infos)))
    assert not contents.held
    assert contents.damage is None


def test_a_cut_tar_gives_the_members_before_the_cut_and_one_reject(tmp_path: Path) -> None:
    members = {f"{number}.mp4": bytes([number]) * 3000 for number in range(4)}
    whole = write_tar(tmp_path / "whole.tar", members).read_bytes()
    (tmp_path / "whole.tar").unlink()
    path = tmp_path / "a.tar"
    step = 512 + 3072  # a header and 3,000 bytes in blocks
    for cut, left in ((step + 100, 1), (2 * step, 2), (3 * step + 600, 3), (4 * step, 4)):
        path.write_bytes(whole[:cut])
        rows = listed(tmp_path)
        assert set(rows) == {"a.tar", *(f"{n}.mp4" for n in range(left))}
        reject = why(rows["a.tar"])
        assert reject.reason == "truncated"
        assert f"behind its first {left} files" in reject.message
        assert all(scan_file(rows[f"{n}.mp4"]) for n in range(left))
    path.write_bytes(whole[:step] + b"\xa5" * 512 + whole[step + 512 :])
    rows = listed(tmp_path)
    assert set(rows) == {"a.tar", "0.mp4"}
    assert why(rows["a.tar"]).reason == "truncated"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"no tar" * 300, "not_media"), (b"\x1f\x8b" + b"z" * 600, "unsupported")],
)
def test_what_is_no_tar_is_a_reject_with_its_reason(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    (row,) = list_folder(ScanConfig(folder=str(tmp_path))).to_pylist()
    assert why(row).reason == reason


def test_a_pipe_named_as_a_tar_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    (row,) = list_folder(ScanConfig(folder=str(tmp_path))).to_pylist()
    assert why(row).reason == "unreadable"


def test_a_member_that_states_more_than_the_tar_holds_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("bomb.mp4")
    info.size = 1 << 50
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    (row,) = list_folder(ScanConfig(folder=str(tmp_path))).to_pylist()
    assert why(row).reason == "not_media"
    assert "ends inside its member 'bomb.mp4'" in why(row).message


def test_a_sparse_member_is_refused_whatever_size_it_states(tmp_path: Path) -> None:
    info = tarfile.TarInfo("zeros.mp4")
    info.size = 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"00000000000\0" + b"00000001000\0"
    header[483:495] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(512) + bytes(1024))
    held = tar_contents(str(tmp_path / "a.tar")).held
    assert isinstance(held["zeros.mp4"], Refusal)
    (row,) = list_folder(ScanConfig(folder=str(tmp_path))).to_pylist()
    assert why(row).reason == "unsupported"


def test_a_header_that_states_a_huge_name_is_not_read_into_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, 1 << 41)  # sparse: it takes no room
    assert "a header of 1099511627776 bytes" in str(tar_contents(str(path)).damage)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 6143), st.integers(0, 255)), max_size=12))
def test_whatever_is_damaged_in_a_tar_it_is_read_to_an_end_and_within_the_file(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path / "a.tar"
    members = {"a.mp4": b"a" * 700, "\udcffé" * 30 + ".mp4": b"b" * 600}
    data = bytearray(write_tar(path, members, format=tarfile.PAX_FORMAT).read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    path.write_bytes(data)
    for found in tar_contents(str(path)).held.values():
        if isinstance(found, Slice):
            assert 0 <= found.offset <= found.offset + found.size_bytes <= len(data)


# -- what changes ------------------------------------------------------------------------------


def test_a_tar_that_changes_after_it_was_listed_is_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.mp4": DATA})
    (row,) = list_folder(ScanConfig(folder=str(tmp_path))).to_pylist()
    write_tar(path, {"a.mp4": DATA + b"more"})
    assert why(row).reason == "changed"
    write_tar(path, {"b.mp4": DATA})
    assert why(row).reason == "missing"
    path.unlink()
    assert why(row).reason == "missing"


def test_a_tar_that_changes_while_it_is_hashed_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.mp4": DATA})
    (row,) = list_folder(ScanConfig(folder=str(tmp_path))).to_pylist()

    def grows(uri: str) -> str:
        source_id = sha256_source(uri)
        write_tar(path, {"a.mp4": DATA, "b.mp4": DATA})
        return source_id

    monkeypatch.setattr("tasks.scan.sha256_source", grows)
    assert why(row).reason == "changed"


def test_a_copy_with_other_bytes_than_were_listed_is_a_reject_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    path, scratch = write_tar(tmp_path / "a.tar", {"a.mp4": DATA}), tmp_path / "scratch"
    scratch.mkdir()
    uri = inside_uri("tar", path, "a.mp4")
    with pytest.raises(Rejected) as caught, local_source(uri, scratch, "0" * 64):
        pytest.fail("it was opened")
    assert caught.value.reason == "changed"
    assert caught.value.message.startswith(f"member a.mp4 of {path}: ")
    assert not list(scratch.iterdir())


def test_a_copy_that_does_not_fit_the_disk_is_a_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.mp4": DATA})
    monkeypatch.setattr("tasks.source_copy.source_facts", lambda uri: (1 << 60, 0))
    uri = inside_uri("tar", path, "a.mp4")
    with pytest.raises(Rejected, match="does not fit") as caught, local_source(uri, tmp_path):
        pytest.fail("it was opened")
    assert caught.value.reason == "output_too_large"


def test_a_reject_of_a_copy_names_the_member_and_not_the_copy(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.mp4": DATA})
    uri = inside_uri("tar", path, "a.mp4")
    with pytest.raises(Rejected) as caught, local_source(uri, tmp_path) as copy:
        raise Rejected("damaged", f"{copy}: its header is damaged")
    assert caught.value.message == f"member a.mp4 of {path}: its header is damaged"
    assert source_facts(uri)[0] == len(DATA)


def test_a_local_file_is_itself_and_other_schemes_are_refused(tmp_path: Path) -> None:
    with local_source("/films/a.mp4", tmp_path) as path:
        assert path == "/films/a.mp4"
    elsewhere = local_source("https://example.org/a.mp4", tmp_path)
    with pytest.raises(Rejected, match="https:// cannot be opened"), elsewhere:
        pytest.fail("it was opened")
