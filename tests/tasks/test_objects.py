"""Sources in a real object store: listed, hashed, copied, and what goes wrong with them."""

import time
from pathlib import Path
from typing import Any

import pytest

from storage.access import BucketMissing, StoreUnreachable
from storage.catalog import Catalog
from storage.ids import sha256_file
from storage.rejects import Rejected
from storage.store import ObjectStore
from storage.workspace import Workspace
from tasks.decode import DecodeConfig, decode_item
from tasks.excerpt import excerpt
from tasks.probe import ProbeConfig, probe_item
from tasks.recipe import RecipeError, check_source, parse_recipe
from tasks.sandbox import close_zygotes
from tasks.scan import STAGE, ScanConfig, list_folder, scan_file
from tasks.source_copy import local_source
from tests.made_archives import write_tar
from tests.made_catalog import bring_up
from tests.made_media import Track, even_times, sine, write_media
from tests.made_store import BUCKET, StoreServer, fresh_url

pytestmark = pytest.mark.store
SRT = "1\n00:00:01,000 --> 00:00:02,000\nGrüße\n".encode()


@pytest.fixture
def store(store_server: StoreServer) -> ObjectStore:
    """An empty place in the store."""
    return ObjectStore(fresh_url())


def listed(folder: str, **fields: Any) -> dict[str, dict[str, Any]]:
    """The listing by key below the folder."""
    rows = list_folder(ScanConfig(folder=folder, **fields)).to_pylist()
    return {row["uri"].removeprefix(f"{folder}/"): row for row in rows}


def why(row: dict[str, Any]) -> Rejected:
    with pytest.raises(Rejected) as caught:
        scan_file(row)
    return caught.value


def test_objects_are_sources_with_the_texts_beside_them_and_a_manifest(store: ObjectStore) -> None:
    odd = "talks/a b#%ü?.mp4"
    for key, data in ((odd, b"media"), ("c.wav", b"sound"), ("c.txt", b"said  so"),
                      ("c.de.srt", SRT), ("notes.pdf", b"x"), ("empty.mp4", b"")):  # fmt: skip
        store.upload_bytes(data, key)
    store.upload_bytes(f"path,license\n{odd},CC0\nc.wav,\n".encode(), "manifest.csv")
    rows = listed(store.url)
    assert set(rows) == {odd, "c.wav", "empty.mp4"}
    assert rows[odd]["licence"] == "CC0"
    assert rows["c.wav"]["transcript"] == "said so"
    assert [cue["language"] for cue in rows["c.wav"]["cues"]] == ["de"]
    assert scan_file(rows[odd])["files"][0]["size_bytes"] == 5
    assert why(rows["empty.mp4"]).reason == "empty"
    assert set(listed(f"{store.url}", globs=("talks/*",))) == {odd}
    assert set(listed(f"{store.url}/talks")) == {odd.removeprefix("talks/")}


def test_a_film_in_the_store_goes_through_the_stages_as_from_a_folder(
    store: ObjectStore, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    write_media(path, even_times(25, 2), track=Track(sine(2, 48_000), 48_000))
    store.upload(path, "a/film.mp4")
    (listing,) = listed(store.url).values()
    (row,) = scan_file(listing)["files"]
    assert row["source_id"] == sha256_file(path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (probed,) = probe_item(row, ProbeConfig(), scratch)["sources"]
    assert (probed["uri"], probed["has_video"]) == (f"{store.url}/a/film.mp4", True)
    item = {"source_id": row["source_id"], "_uri": row["uri"], "cost_s": 2.0,
            "_size_bytes": row["size_bytes"], "_mtime_ns": row["mtime_ns"]}  # fmt: skip
    workspace = Workspace.at(tmp_path / "w").make()
    (decoded,) = decode_item(item, DecodeConfig(max_faces=0), workspace.root, scratch)["decodes"]
    assert decoded["frames25_count"] == 50
    cut = excerpt(row["uri"], scratch, "cut", 1.0, 0.0)
    Path(cut["path"]).unlink()
    assert not list(scratch.iterdir())
    close_zygotes()


def test_an_object_that_changes_or_goes_is_noticed(store: ObjectStore, tmp_path: Path) -> None:
    store.upload_bytes(b"before", "a.mp4")
    row = listed(store.url)["a.mp4"]
    source_id = scan_file(row)["files"][0]["source_id"]
    store.upload_bytes(b"after!", "a.mp4")  # as long, and perhaps in the same second
    with pytest.raises(Rejected) as caught, local_source(row["uri"], tmp_path, source_id):
        pytest.fail("it was opened")
    assert caught.value.reason == "changed"
    store.upload_bytes(b"longer than it was", "a.mp4")
    assert why(row).reason == "changed"
    store.delete("a.mp4")
    assert why(row).reason == "missing"


def test_a_tar_in_the_store_is_a_reject_with_the_mend(store: ObjectStore, tmp_path: Path) -> None:
    store.upload(write_tar(tmp_path / "a.tar", {"a.mp4": b"x"}), "a.tar")
    reject = why(listed(store.url)["a.tar"])
    assert reject.reason == "unsupported"
    assert "copy it to a disk" in reject.message


def test_a_manifest_lists_objects_and_those_that_are_not_there_cost_themselves_only(
    store: ObjectStore, tmp_path: Path
) -> None:
    store.upload_bytes(b"media", "a.bin")
    uris = [f"{store.url}/a.bin", f"{store.url}/gone.mp4", "s3://no-such-bucket/a.mp4"]
    (tmp_path / "list.csv").write_text("uri\n" + "\n".join(uris))
    rows = list_folder(ScanConfig(folder=str(tmp_path), manifest="list.csv")).to_pylist()
    by_uri = {row["uri"]: row for row in rows}
    assert set(by_uri) == set(uris)
    assert scan_file(by_uri[uris[0]])["files"][0]["size_bytes"] == 5
    assert {why(by_uri[uri]).reason for uri in uris[1:]} == {"missing"}


def test_a_folder_of_the_store_that_cannot_be_listed_is_named_before_any_work(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = parse_recipe({"scan": {"folder": f"{store.url}/"}}, Path("/r/films.yaml"))
    assert recipe.configs["scan"].folder == recipe.configs["snapshot"].folder == store.url
    assert recipe.configs["snapshot"].manifest == f"{store.url}/manifest.csv"
    with pytest.raises(RecipeError, match=f"source folder {store.url}: no media file in it"):
        check_source(recipe)
    with pytest.raises(BucketMissing, match="there is no bucket no-such-bucket"):
        list_folder(ScanConfig(folder="s3://no-such-bucket/x"))
    assert BUCKET in store.url


def test_a_store_that_does_not_answer_is_no_fault_of_the_source(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upload_bytes(b"media", "a.mp4")
    row = listed(store.url)["a.mp4"]
    monkeypatch.setattr("storage.store.ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(StoreUnreachable, match="no answer from"):
        scan_file(row)


def test_objects_come_leave_and_stay_in_a_catalog_as_files_do(
    store: ObjectStore, tmp_path: Path
) -> None:
    for key in ("a.mp4", "b.mp4"):
        store.upload_bytes(key.encode(), key)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.mp4").write_bytes(b"a.mp4")
    with Catalog(Workspace.at(tmp_path / "w").make()) as catalog:

        def scan(folder: str) -> tuple[int, int]:
            plan = bring_up(catalog, STAGE, ScanConfig(folder=folder))
            return plan.items, plan.gone

        assert scan(store.url) == (2, 0)
        assert scan(str(other)) == (1, 0)
        assert scan(store.url) == (0, 0)
        assert catalog.value("SELECT count(DISTINCT source_id) FROM files") == 2
        store.delete("b.mp4")
        time.sleep(1.1)  # a store tells times in seconds
        store.upload_bytes(b"A.mp4", "a.mp4")
        assert scan(store.url) == (1, 1)
        assert catalog.value("SELECT count(DISTINCT source_id) FROM files") == 2
