"""Transcripts beside a file: which belong to it, in what encoding, and what of them is spoken."""

from pathlib import Path

import pytest

from tasks.sidecar import MAX_BYTES, Sidecar, decoded_text, read_sidecars, sidecars_by_stem


def srt(text: str, times: str = "00:00:01,000 --> 00:00:02,500") -> str:
    return f"1\n{times}\n{text}\n"


def read(folder: Path, **files: str | bytes) -> list[tuple[float, float, str, str]]:
    """The cues of `film` after files were put beside it; `__` in a name stands for a point."""
    for name, data in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    beside = sidecars_by_stem(path.name for path in folder.iterdir()).get("film", [])
    cues = read_sidecars(folder, beside)["cues"] or []
    return [(cue["start_s"], cue["end_s"], cue["text"], cue["language"]) for cue in cues]


@pytest.mark.parametrize(
    ("name", "belongs"),
    [
        ("film.srt", ""),
        ("film.VTT", ""),
        ("film.de.srt", "de"),
        ("film.DE-at.vtt", "de"),
        ("film.ger.srt", "de"),
        ("film.sdh.srt", ""),
        ("film.en.sdh.srt", "en"),
        ("film.hi.txt", "hi"),
        ("film.forced.srt", None),
        ("film.en.forced.srt", None),
        ("film.part2.srt", None),
        ("film2.srt", None),
        ("film.nfo", None),
    ],
)
def test_a_name_says_whose_transcript_it_is_and_in_which_language(
    name: str, belongs: str | None
) -> None:
    beside = sidecars_by_stem([name]).get("film", [])
    assert beside == ([] if belongs is None else [Sidecar(name, belongs)])


def test_the_file_of_that_very_name_owns_its_subtitles() -> None:
    assert sidecars_by_stem(["film.de.srt"])["film.de"] == [Sidecar("film.de.srt", "")]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
def test_a_text_is_read_in_the_encodings_that_subtitles_have(encoding: str) -> None:
    assert decoded_text("Grüße, “Zoë” – 5 €".encode(encoding)) == "Grüße, “Zoë” – 5 €"


@pytest.mark.parametrize(
    ("said", "spoken"),
    [
        ("<i>Hello,</i> there", "Hello, there"),
        ("{\\an8}<font color='#fff'>Up</font> here", "Up here"),
        ("<v Ann>Tea &amp; toast&nbsp;&#39;now&#39;", "Tea & toast 'now'"),
        ("- Who?\n- Me.", "Who? Me."),
        ("[door slams] Come in ♪ la ♪", "Come in la"),
    ],
)
def test_only_what_is_spoken_is_left_of_a_cue(tmp_path: Path, said: str, spoken: str) -> None:
    cues = read(tmp_path, film__srt=srt(said))
    assert [text for _, _, text, _ in cues] == [spoken]


@pytest.mark.parametrize(
    "times",
    [
        "00:00:01,000 --> 00:00:02,500",
        "00:00:01.000 --> 00:00:02.500 align:start",
        "00:01.0 --> 00:02.5",
        "0:00:01,0 --> 0:00:02,50 X1:1",
    ],
)
def test_times_may_have_a_comma_a_point_and_fewer_digits(tmp_path: Path, times: str) -> None:
    assert read(tmp_path, film__srt=srt("said", times)) == [(1.0, 2.5, "said", "")]


def test_overlapping_cues_are_all_kept_in_the_order_of_their_start(tmp_path: Path) -> None:
    second = srt("second", "00:00:02,000 --> 00:00:04,000")
    first = srt("first", "00:00:01,000 --> 00:00:03,000")
    assert [cue[:3] for cue in read(tmp_path, film__srt=f"{second}\n{first}")] == [
        (1.0, 3.0, "first"),
        (2.0, 4.0, "second"),
    ]


def test_a_cue_without_words_or_time_is_none_and_a_blank_line_ends_none(tmp_path: Path) -> None:
    backwards = srt("never", "00:00:05,000 --> 00:00:05,000")
    text = srt("one\n\ntwo") + "\n" + srt("♪") + "\n" + backwards
    assert read(tmp_path, film__srt=text) == [(1.0, 2.5, "one two", "")]


def test_of_two_subtitles_in_one_language_the_first_that_speaks_counts(tmp_path: Path) -> None:
    cues = read(tmp_path, film__srt="", film__vtt=srt("a"), film__en__srt=srt("b"),
                film__en__sdh__srt=srt("c"))  # fmt: skip
    assert [(text, language) for _, _, text, language in cues] == [("a", ""), ("b", "en")]


def test_a_sidecar_that_cannot_be_read_or_is_too_large_says_nothing(tmp_path: Path) -> None:
    with (tmp_path / "film.srt").open("wb") as huge:
        huge.truncate(MAX_BYTES + 1)
    said = read_sidecars(tmp_path, [Sidecar("film.srt", ""), Sidecar("gone.txt", "")])
    assert said == {"transcript": None, "cues": None}
