"""What the report and a build's summary say of phonemes, on the made catalog."""

from collections.abc import Iterator

import pytest

from storage.catalog import Catalog
from storage.workspace import Workspace
from tasks.report import write_report
from tasks.report_speech import corrected_words, phoneme_warnings, spoken_report
from tests.made_rows import insert_all


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Catalog(Workspace.at(tmp_path_factory.mktemp("spoken")).make()) as opened:
        insert_all(opened, ("sources", "windows", "transcripts", "words", "phonemes"))
        yield opened


def test_symbols_without_an_id_and_unaligned_clips_are_warned_of(catalog: Catalog) -> None:
    unknown, unaligned = phoneme_warnings(catalog)
    assert unknown.startswith("1 of 1 phonemes in 'en' have no id")
    assert "ħ (1); see the view phoneme_inventory" in unknown
    assert unaligned.startswith("1 of 1 clips in 'en' could not be aligned")


def test_the_report_counts_each_language_and_names_what_is_missing(catalog: Catalog) -> None:
    report = spoken_report(catalog)
    assert report.languages == [
        {"language": "en", "clips": 1, "phonemes": 1, "aligned": 0}
        | {"unaligned_clips": 1, "unknown": 1}
    ]
    assert [row["phoneme"] for row in report.unknown_symbols] == ["ħ"]
    assert [row["spoken"] for row in report.unlisted_words] == ["hmm"]


def test_the_page_shows_the_symbol_and_the_word(catalog: Catalog) -> None:
    page = write_report(catalog.workspace, "nothing-frozen").read_text()
    assert "Symbols that the id table lacks" in page
    assert "hmm /ħ/" in page


def test_a_word_is_drawn_where_its_phonemes_are() -> None:
    words = [{"position": n, "start_s": float(n), "end_s": n + 0.5} for n in range(2)]
    phonemes = [
        {"word_position": 0, "start_s": 0.2, "end_s": 0.3},
        {"word_position": 0, "start_s": 0.3, "end_s": 0.7},
    ]
    assert corrected_words(words, phonemes) == [words[0] | {"start_s": 0.2, "end_s": 0.7}, words[1]]
