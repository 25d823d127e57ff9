"""Workspaces in a real object store: what only such a store can show."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from storage.access import BucketMissing, StoreDenied, StoreUnreachable
from storage.backup import backup, default_path, restore
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.claim import NOTE, CatalogElsewhere
from storage.evict import evict
from storage.features import pack_features, read_feature
from storage.gc import gc
from storage.sql import Refused, read_only_query
from storage.store import ObjectStore
from storage.verify import verify
from storage.workspace import FRESH_S, Workspace
from tasks.doctor import _store as checked_store
from tasks.pipeline import ALL
from tests.made_commits import made_row
from tests.made_server import Server
from tests.made_store import (
    BUCKET,
    READER_ID,
    READER_KEY,
    SECRET_KEY,
    StoreServer,
    content,
    copied,
    drop_copies,
    fresh_url,
    stored,
)
from tests.made_workspace import clip, make_workspace

pytestmark = pytest.mark.store
CHECKPOINT_FILES = {"config.json", "model.safetensors"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, store_server: StoreServer) -> Workspace:
    """A whole workspace in the store; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALKIES_STATE", str(tmp_path_factory.mktemp("state")))
        return make_workspace(fresh_url())


@pytest.fixture
def own(template: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may change."""
    return copied(template, tmp_path / "copy")


@pytest.fixture
def empty(tmp_path: Path, store_server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A made workspace without catalog and files."""
    monkeypatch.setenv("TALKIES_STATE", str(tmp_path / "state"))
    return Workspace.at(fresh_url()).make()


# -- files -------------------------------------------------------------------------------------


def test_a_machine_without_copies_reads_every_file(own: Workspace) -> None:
    drop_copies(own)
    with Catalog(own, read_only=True) as catalog:
        assert verify(catalog, stages=ALL) == []
        (blob,) = catalog.rows("SELECT audio48_ref AS ref FROM decodes ORDER BY source_id LIMIT 1")
        row = catalog.rows("SELECT * FROM features WHERE extractor = 'motion' ORDER BY clip_id")[0]
        (model,) = catalog.rows("SELECT ref FROM checkpoints")
    assert not own.path(blob["ref"]).exists()
    assert Blobs(own.root).read(blob["ref"]) == b"48-0"
    array = read_feature(own.root, row["shard_ref"], row["clip_id"], row["content_hash"])
    assert list(array.shape) == row["shape"]
    assert {path.name for path in own.fetch(model["ref"]).iterdir()} == CHECKPOINT_FILES
    assert own.fetch("soundtracks/film.mp4").read_bytes() == b"film"


def test_a_file_is_fetched_once(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = Blobs(own.root).put_bytes(b"sound", ".flac")
    drop_copies(own)
    assert Blobs(own.root).read(ref) == b"sound"
    monkeypatch.setattr(ObjectStore, "download", None)
    assert Blobs(own.root).read(ref) == b"sound"


def test_a_film_that_was_made_again_elsewhere_is_fetched_again(own: Workspace) -> None:
    assert own.fetch("soundtracks/film.mp4").read_bytes() == b"film"
    own.store.upload_bytes(b"another film", "soundtracks/film.mp4")
    assert own.fetch("soundtracks/film.mp4").read_bytes() == b"another film"


def test_what_rows_may_name_is_in_the_store_before_the_name_is_known(empty: Workspace) -> None:
    sound = empty.root / "scratch" / "take.flac"
    sound.write_bytes(b"take")
    refs = [
        Blobs(empty.root).put_bytes(b"sound", ".flac"),
        Blobs(empty.root).put_file(sound, ".flac"),
        pack_features(
            empty.root, [{"clip_id": clip(0), "extractor": "motion", "version": 1, "_array": [0]}]
        )[0]["shard_ref"],
    ]
    assert stored(empty) == set(refs)
    assert [content(empty, ref) for ref in refs[:2]] == [b"sound", b"take"]


def test_a_blob_whose_upload_was_killed_is_sent_when_it_is_made_again(empty: Workspace) -> None:
    ref = Blobs(empty.root).put_bytes(b"sound", ".flac")
    empty.store.delete(ref)
    assert Blobs(empty.root).put_bytes(b"sound", ".flac") == ref
    assert empty.exists(ref)


def test_an_old_object_is_made_young_again_and_a_young_one_is_not_sent_again(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = Blobs(empty.root).put_bytes(b"sound", ".flac")
    sent: list[str] = []
    monkeypatch.setattr(ObjectStore, "upload", lambda store, path, ref: sent.append(ref))
    Blobs(empty.root).put_bytes(b"sound", ".flac")
    assert sent == []
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 2 * FRESH_S)
    Blobs(empty.root).put_bytes(b"sound", ".flac")
    assert sent == [ref]


def test_a_large_file_goes_in_parts_and_comes_back_whole(empty: Workspace, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 25
    (tmp_path / "film").write_bytes(data)
    empty.store.upload(tmp_path / "film", "soundtracks/large.mp4")
    assert empty.fetch("soundtracks/large.mp4").read_bytes() == data


def test_an_upload_that_breaks_off_leaves_no_object(empty: Workspace) -> None:
    """Arrow itself would finish it: the store would have half a film under the name of one."""

    def pieces() -> Iterator[bytes]:
        yield os.urandom(12 << 20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), empty.store._writing("soundtracks/half.mp4") as stream:
        for piece in pieces():
            stream.write(piece)
    assert stored(empty) == set()


def test_a_copy_that_is_not_in_the_store_or_in_use_is_never_let_go_of(own: Workspace) -> None:
    film, long_ago = own.path("soundtracks/film.mp4"), time.time() - 7 * 24 * 3600
    for entry in own.copies("blobs"):
        own.fetch(entry.ref)
        os.utime(own.path(entry.ref), (long_ago, long_ago))
    unsent = own.path("blobs/ab/unsent.flac")
    unsent.parent.mkdir(exist_ok=True)
    unsent.write_bytes(b"unsent")
    os.utime(unsent, (long_ago, long_ago))
    before, there = stored(own), {entry.ref for entry in own.copies("blobs")}
    plan = evict(own, keep_bytes=0)
    assert set(plan.refs) == there - {"blobs/ab/unsent.flac"}
    assert plan.waiting == ("blobs/ab/unsent.flac",)
    assert {entry.ref for entry in own.copies("blobs")} == there
    assert evict(own, unused_s=24 * 3600, apply=True).refs == plan.refs
    assert {entry.ref for entry in own.copies("blobs")} == {"blobs/ab/unsent.flac"}
    assert film.exists()
    assert stored(own) == before
    with Catalog(own) as catalog:
        assert verify(catalog, stages=ALL) == []


def test_copies_are_bounded_by_their_last_use(empty: Workspace) -> None:
    refs = [Blobs(empty.root).put_bytes(bytes([n]) * 1000, ".flac") for n in range(4)]
    for age_h, ref in enumerate(refs, start=2):
        then = time.time() - age_h * 3600
        os.utime(empty.path(ref), (then, then))
    assert set(evict(empty, keep_bytes=2500).refs) == set(refs[2:])


def test_an_upload_that_never_was_finished_is_swept_when_it_is_old(own: Workspace) -> None:
    left = own.path("blobs/ab/.half.flac.12-34.tmp")
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    with Catalog(own) as catalog:
        assert gc(catalog).orphans == ()
        os.utime(left, (0, 0))
        assert [orphan.ref for orphan in gc(catalog, apply=True).orphans] == [
            "blobs/ab/.half.flac.12-34.tmp"
        ]
    assert not left.exists()


# -- two machines ------------------------------------------------------------------------------


def test_a_second_machine_is_told_where_the_metadata_are(
    own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALKIES_STATE", str(tmp_path / "second"))
    second = Workspace.at(own.data_url)
    for read_only in (True, False):
        with pytest.raises(CatalogElsewhere, match=r"in SQLite on .* restore a backup"):
            Catalog(second, read_only=read_only)
    assert not second.catalog_path.exists()


def test_a_backup_in_the_store_moves_a_workspace_to_another_machine(
    own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = default_path(own)
    with Catalog(own, read_only=True) as catalog:
        backup(catalog, path)
    monkeypatch.setenv("TALKIES_STATE", str(tmp_path / "second"))
    second = Workspace.at(own.data_url)
    restore(second, Path("backups") / path.name, apply=True)
    with Catalog(second) as catalog:
        assert verify(catalog, stages=ALL) == []
    with pytest.raises(CatalogElsewhere):
        Catalog(own)


# -- the fence and the secret ------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_parquet('s3://another/x.parquet')",
        "FROM 's3://another/x.parquet'",
        f"FROM 's3://{BUCKET}/other/tables/x.parquet'",
        "FROM 'URL/blobs/x.parquet'",
        "FROM 'URL/tables/../blobs/x.parquet'",
        "FROM 'URL/tablesx/x.parquet'",
        "FROM 'http://127.0.0.1:1/x.parquet'",
        "FROM 'https://127.0.0.1:1/x.csv'",
        "SELECT * FROM read_text('URL/catalog.json')",
        "FROM duckdb_secrets()",
        "FROM which_secret('URL/tables/x', 's3')",
        "FROM duckdb_settings()",
        "COPY (SELECT 1) TO 'URL/tables/x.parquet'",
        "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
        "DROP SECRET workspace_store",
        "ATTACH 'URL/tables/x.duckdb'",
    ],
)
def test_the_fence_holds_in_a_store(template: Workspace, sql: str) -> None:
    with pytest.raises(Refused) as caught:
        read_only_query(sql.replace("URL", template.data_url), template)
    assert SECRET_KEY not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_select_reads_tables_in_the_store_and_never_the_key(template: Workspace) -> None:
    assert read_only_query("SELECT count(*) AS n FROM windows", template).to_pylist() == [{"n": 6}]
    names = ("s3_secret_access_key", "s3_access_key_id", "s3_session_token", "s3_endpoint")
    shown = ", ".join(f"current_setting('{name}')" for name in names)
    (row,) = read_only_query(f"SELECT [{shown}] AS shown", template).to_pylist()
    assert row["shown"] == [None] * len(names)


def test_the_key_stands_in_no_file_of_the_workspace(template: Workspace) -> None:
    for entry in template.copies(""):
        assert SECRET_KEY.encode() not in (template.root / entry.ref).read_bytes()
    assert SECRET_KEY.encode() not in content(template, NOTE)


# -- what goes wrong ---------------------------------------------------------------------------


def test_a_missing_bucket_is_named(store_server: StoreServer, tmp_path: Path) -> None:
    with pytest.raises(BucketMissing, match=r"there is no bucket talkies-none at http.*make it"):
        Workspace(tmp_path / "none", "s3://talkies-none/x").make()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-SECRET"}, StoreDenied, "denies access; set AWS_ACCESS"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_PROFILE": ""}, StoreDenied, "no credentials"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, StoreUnreachable, "no answer from http"),
    ],
)
def test_a_store_that_cannot_be_used_says_so_in_one_line(
    own: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: dict[str, str],
    error: type[Exception],
    said: str,
) -> None:
    drop_copies(own)
    monkeypatch.setattr("storage.store.ATTEMPTS", 2)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in names.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    for use in (own.make, lambda: own.fetch("blobs/ab/cd.flac"), lambda: Catalog(own)):
        with pytest.raises(error, match=said) as caught:
            use()
        assert "SECRET" not in str(caught.value).replace("AWS_SECRET_ACCESS_KEY", "")
        assert "\n" not in str(caught.value)


def test_a_key_that_may_only_read_reads_and_cannot_write(
    own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_KEY)
    drop_copies(own)
    assert own.fetch("soundtracks/film.mp4").read_bytes() == b"film"
    with pytest.raises(StoreDenied, match="let the key read, write, list and delete"):
        Blobs(own.root).put_bytes(b"sound", ".flac")
    (check,) = checked_store(own)
    assert (check.state, "AWS_SECRET_ACCESS_KEY" in check.mend) == ("missing", True)


def test_doctor_says_that_the_store_can_be_written(own: Workspace) -> None:
    (check,) = checked_store(own)
    assert check.state == "ok"
    assert not any(ref.startswith("scratch/doctor") for ref in stored(own))


def test_a_missing_object_is_named(empty: Workspace) -> None:
    with pytest.raises(FileNotFoundError, match=r"s3://.*/blobs/ab/cd.flac is missing; put it"):
        empty.fetch("blobs/ab/cd.flac")


@contextmanager
def faltering(times: int) -> Iterator[tuple[str, list[str]]]:
    """A store that is overloaded for some requests, and then has one object."""
    asked: list[str] = []

    class Faltering(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            is_well = len(asked) > times
            self.send_response(200 if is_well else 503)
            self.send_header("Content-Length", "5" if is_well else "0")
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Faltering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def test_a_store_that_falters_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with faltering(2) as (endpoint, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        entry = ObjectStore("s3://bucket/prefix").look("film.mp4")
    assert entry is not None and entry.size_bytes == 5
    assert asked == ["/bucket/prefix/film.mp4"] * 3


WORKER = """
import sys
from storage.blobs import Blobs
print(Blobs(sys.argv[1]).read(sys.argv[2]).decode())
"""


def test_a_worker_needs_only_the_folder(own: Workspace) -> None:
    ref = Blobs(own.root).put_bytes(b"sound", ".flac")
    shutil.rmtree(own.root / "blobs")
    command = [sys.executable, "-c", WORKER, str(own.root), ref]
    root = Path(__file__).parents[2]
    said = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60)
    assert said.stdout == "sound\n", said.stderr


def test_with_postgresql_any_machine_opens_the_catalog_and_reads_every_file(
    server: Server, store_server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, catalog_url = fresh_url(), server.new_url()
    for number, machine in enumerate(("first", "second")):
        monkeypatch.setenv("TALKIES_STATE", str(tmp_path / machine))
        room = Workspace.at(url, catalog_url).make()
        with Catalog(room) as catalog:
            if not number:
                ref = Blobs(room.root).put_bytes(b"codec", ".safetensors")
                catalog.insert("codecs", [made_row("codecs", codec_id="one", ref=ref)])
            (row,) = catalog.rows("SELECT ref FROM codecs")
        assert Blobs(room.root).read(row["ref"]) == b"codec"
    monkeypatch.setenv("TALKIES_STATE", str(tmp_path / "third"))
    with pytest.raises(CatalogElsewhere, match=r"are in PostgreSQL at .* give that as --catalog"):
        Catalog(Workspace.at(url), read_only=True)
