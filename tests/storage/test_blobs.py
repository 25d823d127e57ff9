"""The blob store: the name of a file is the hash of its bytes, and is held to it."""

import hashlib
from pathlib import Path

import pytest

from storage.blobs import Blobs, hash_in
from storage.rejects import Rejected
from storage.workspace import ADDRESSES, Workspace
from tests.made_store import stored

pytestmark = pytest.mark.everywhere


def test_the_same_bytes_are_stored_once_and_read_back(workspace: Path) -> None:
    blobs = Blobs(workspace)
    ref = blobs.put_bytes(b"sound", ".flac")
    assert ref == blobs.put_bytes(b"sound", ".flac")
    digest = hashlib.sha256(b"sound").hexdigest()
    assert ref == f"blobs/{digest[:2]}/{digest[2:]}.flac"
    assert hash_in(ref) == digest
    assert blobs.read(ref) == b"sound"
    assert stored(Workspace.at(workspace)) - {ADDRESSES} == {ref}


def test_a_file_is_moved_in_and_a_second_one_of_the_same_bytes_is_removed(workspace: Path) -> None:
    blobs = Blobs(workspace)
    for name in ("one", "two"):
        path = workspace / name
        path.write_bytes(b"sound")
        ref = blobs.put_file(path, ".flac")
        assert not path.exists()
        assert blobs.read(ref) == b"sound"
        assert ref == blobs.put_bytes(b"sound", ".flac")


def test_a_blob_whose_bytes_changed_is_a_reject_that_names_it(workspace: Path) -> None:
    blobs = Blobs(workspace)
    ref = blobs.put_bytes(b"sound", ".flac")
    blobs.path(ref).write_bytes(b"noise")
    with pytest.raises(Rejected, match=ref) as caught:
        blobs.read(ref)
    assert caught.value.reason == "content_hash"


def test_a_missing_blob_raises_file_not_found(workspace: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Blobs(workspace).read("blobs/ab/cd.flac")


@pytest.mark.parametrize("suffix", ["", "flac", ".", ".fl/ac", "/../x", ".FLAC", ".a" * 9])
def test_a_suffix_that_is_none_is_refused(workspace: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match="short extension"):
        Blobs(workspace).put_bytes(b"sound", suffix)


@pytest.mark.parametrize("ref", ["../secret", "/etc/passwd", "blobs/../../secret"])
def test_a_reference_that_leaves_the_workspace_is_refused(workspace: Path, ref: str) -> None:
    (workspace.parent / "secret").write_text("secret")
    with pytest.raises(ValueError, match="leaves the workspace"):
        Blobs(workspace).read(ref)
