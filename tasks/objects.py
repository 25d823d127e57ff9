"""Sources in an object store: `s3://bucket/key`, the key as it is."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePosixPath

from storage.access import BucketMissing, StoreDenied
from storage.rejects import Rejected
from storage.store import Entry, ObjectStore

S3 = "s3"
THREADS = 16
CHUNK_BYTES = 8 << 20
SECOND_NS = 1_000_000_000
KEPT_TEXTS = 4096
Facts = tuple[int, int]


def facts_of_entry(entry: Entry) -> Facts:
    """Size in bytes and time in ns; whole seconds, as some answers of a store have no others."""
    return entry.size_bytes, int(entry.changed_s) * SECOND_NS


def object_facts(uri: str) -> Facts:
    """Size in bytes and modification time in ns of an object.

    Raises Rejected: `missing`, `unreadable` where the key may not read it. A store that does not
    answer raises StoreUnreachable: it is no fault of the object.
    """
    with _rejecting(uri):
        store, key = _place(uri)
        entry = store.look(key)
    if entry is None:
        raise Rejected("missing", f"{uri}: no such object; put it back or build again")
    return facts_of_entry(entry)


def object_chunks(uri: str) -> Iterator[bytes]:
    """The bytes of an object from its begin to its end; raises as `object_facts`."""
    with _rejecting(uri):
        store, key = _place(uri)
        with store.open(key) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield bytes(chunk)


def objects_below(url: str) -> dict[str, Facts]:
    """Facts of all objects below an address, by their key below it; raises a StoreError."""
    return {entry.ref: facts_of_entry(entry) for entry in ObjectStore(url).listing("")}


def facts_of_objects(uris: Iterable[str]) -> dict[str, Facts]:
    """Facts of those objects that are there, by uri, asked many at once."""

    def ask(uri: str) -> Facts | None:
        try:
            return object_facts(uri)
        except Rejected:
            return None  # whoever hashes it says why

    asked = list(uris)
    with ThreadPoolExecutor(THREADS) as pool:
        found = zip(asked, pool.map(ask, asked), strict=True)
        return {uri: facts for uri, facts in found if facts}


def small_objects(url: str, facts: Mapping[str, Facts]) -> dict[str, bytes]:
    """The bytes of small objects below an address, by key; each version is read once a process."""

    def read(key: str) -> bytes:
        return _text(url, key, *facts[key])

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(facts, pool.map(read, facts), strict=True))


@functools.lru_cache(maxsize=KEPT_TEXTS)
def _text(url: str, key: str, _size_bytes: int, _mtime_ns: int) -> bytes:
    try:
        with ObjectStore(url).open(key) as file:
            return bytes(file.read())
    except FileNotFoundError:
        return b""  # it was removed since it was listed


def _place(uri: str) -> tuple[ObjectStore, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    if PurePosixPath(key).suffix.lower() == ".tar":
        raise Rejected("unsupported", f"{uri}: a tar in an object store; copy it to a disk")
    return ObjectStore(f"{S3}://{bucket}"), key


@contextmanager
def _rejecting(uri: str) -> Iterator[None]:
    """Turns what is wrong with one object into a reject."""
    try:
        yield
    except FileNotFoundError:
        raise Rejected("missing", f"{uri}: gone since it was listed; build again") from None
    except BucketMissing as error:
        raise Rejected("missing", str(error)) from None
    except StoreDenied as error:
        raise Rejected("unreadable", str(error)) from None
