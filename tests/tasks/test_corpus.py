"""The demo corpus: its list, its manifest, and the real files where the cache has them."""

import csv
import shutil
from pathlib import Path

import pytest

from tasks.corpus import (
    CORPUS,
    MANIFEST,
    NOTES,
    TRUNCATED,
    assemble_corpus,
    corpus_specs,
    read_transcripts,
)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in files
    }


def manifest(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / MANIFEST).open(newline="", encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_transcripts_lose_their_sentence_tags_and_keep_their_words() -> None:
    listing = "<s> he was not an ill disposed young man </s> (line-0880)\n\n<s> yes </s> (b)\n"
    expected = {"line-0880": "he was not an ill disposed young man", "b": "yes"}
    assert read_transcripts(listing) == expected


def test_a_transcript_line_of_another_form_is_named() -> None:
    with pytest.raises(ValueError, match=r"transcription line 2: 'no tags'"):
        read_transcripts("<s> yes </s> (a)\nno tags\n")


def test_every_corpus_file_has_its_own_path_and_a_full_hash() -> None:
    assert len({file.path for file in CORPUS}) == len(CORPUS)
    assert all(len(spec.sha256) == 64 for spec in corpus_specs())
    assert all(spec.archive_sha256 for spec in corpus_specs() if spec.kind == "sdist")


@pytest.mark.weights
def test_the_manifest_lists_every_file_of_the_corpus_with_its_rights(demo_corpus: Path) -> None:
    rows = manifest(demo_corpus)
    files = {name for name in snapshot(demo_corpus) if name != MANIFEST}
    assert set(rows) == files
    assert all(row["licence"] and row["attribution"] and row["consent"] for row in rows.values())
    assert rows["librivox/0880.wav"]["transcript"] == "he was not an ill disposed young man"
    assert sum(bool(row["transcript"]) for row in rows.values()) == 5


@pytest.mark.weights
def test_a_second_assembly_writes_nothing(demo_corpus: Path) -> None:
    before = snapshot(demo_corpus)
    assert assemble_corpus(demo_corpus) == demo_corpus
    assert snapshot(demo_corpus) == before


@pytest.mark.weights
def test_a_damaged_or_missing_file_is_put_back(demo_corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(demo_corpus, folder)
    before = {name: data for name, (_, data) in snapshot(folder).items()}
    (folder / "bikes.mp4").write_bytes(b"damaged")
    (folder / MANIFEST).unlink()
    assemble_corpus(folder)
    assert {name: data for name, (_, data) in snapshot(folder).items()} == before


@pytest.mark.weights
@pytest.mark.parametrize("name", [TRUNCATED, NOTES])
def test_the_two_broken_files_cannot_be_opened(demo_corpus: Path, name: str) -> None:
    import av
    from av.error import InvalidDataError

    with pytest.raises(InvalidDataError):
        av.open(demo_corpus / name)
