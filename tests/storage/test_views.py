"""The named views: their answers over a made catalog are those worked out by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.catalog import Catalog
from storage.schema import VIEWS
from storage.workspace import Workspace
from tests.conftest import Place
from tests.made_rows import insert_all, mixture_rows, row, sight_rows

HOUR = 3600


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Catalog]:
    with Catalog(Workspace.at(place(tmp_path_factory.mktemp("views"))).make()) as opened:
        insert_all(opened)
        for table, rows in (sight_rows() | mixture_rows()).items():
            opened.insert(table, rows)
        yield opened


def answer(catalog: Catalog, view: str, columns: str = "*") -> list[tuple[Any, ...]]:
    return catalog.connection.execute(f"SELECT {columns} FROM {view}").fetchall()


def test_a_clip_has_its_sources_and_its_own_labels(catalog: Catalog) -> None:
    columns = "clip_id, uri, kind, split, speech_s, top_tag, language"
    assert answer(catalog, "clips ORDER BY clip_id", columns) == [
        ("a1", "/films/a.mp4", "speech_on_screen", "train", 6.0, "Speech", "en"),
        ("a2", "/films/a.mp4", "silent", "train", None, None, None),
        ("b1", "/films/b.mp4", "sound", "test", 0.0, "Rain", None),
        ("b2", "/films/b.mp4", "speech_off_screen", "test", 5.0, "Speech", "de"),
        ("c1", "/films/c.wav", "sound", "train", 0.0, "Wind", None),
    ]


def test_a_constant_offset_of_a_source_is_found_over_its_sure_clips(catalog: Catalog) -> None:
    columns = "source_id, round(offset_s, 3), clips, round(spread_s, 3), is_constant"
    assert answer(catalog, "source_offsets", f"{columns}, is_out_of_sync") == [
        ("A", 0.05, 1, 0.0, False, False),
        ("B", 0.39, 2, 0.01, True, True),
    ]


@pytest.mark.parametrize(
    ("offsets", "offset_s", "is_constant", "is_out_of_sync"),
    [
        ([(0.2, 0.95), (0.21, 0.99), (-0.5, 0.91), (0.19, 0.93)], 0.2, False, False),
        ([(0.2, 0.95), (0.21, 0.99), (-0.5, 0.89), (0.19, 0.93)], 0.2, True, True),
        ([(-0.1, 0.95), (-0.12, 0.95)], -0.12, True, True),
        ([(0.18, 0.95), (0.17, 0.95)], 0.17, True, False),
        ([(-0.08, 0.95), (0.1, 0.95)], -0.08, False, False),
    ],
)
def test_a_sources_offset_is_the_weighted_median_and_must_be_steady(
    tmp_path: Path,
    offsets: list[tuple[float, float]],
    offset_s: float,
    is_constant: bool,
    is_out_of_sync: bool,
) -> None:
    with Catalog(Workspace.at(tmp_path).make()) as catalog:
        catalog.insert("sources", [row("sources", source_id="S", uri="/s.mp4")])
        clips = [f"c{number}" for number in range(len(offsets))]
        catalog.insert("windows", [row("windows", clip_id=c, source_id="S") for c in clips])
        rows = [
            row("syncs", clip_id=clip, offset_s=offset, confidence=confidence)
            for clip, (offset, confidence) in zip(clips, offsets, strict=True)
        ]
        catalog.insert("syncs", rows)
        (found,) = answer(catalog, "source_offsets", "offset_s, is_constant, is_out_of_sync")
    assert found == (offset_s, is_constant, is_out_of_sync)


def test_the_funnel_counts_what_each_step_leaves(catalog: Catalog) -> None:
    seconds = "position, step, things, items, hours * 3600"
    assert answer(catalog, "funnel", seconds) == [
        (1, "listed", "files", 6, None),
        (2, "distinct", "sources", 5, None),
        (3, "probed", "sources", 4, pytest.approx(146)),
        (4, "decoded", "sources", 3, pytest.approx(96)),
        (5, "cut", "clips", 5, pytest.approx(96)),
        (6, "heard", "clips", 4, pytest.approx(84)),
        (7, "kept", "clips", 4, pytest.approx(84)),
        (8, "mixed", "mixtures", 6, pytest.approx(44)),
        (9, "frozen", "members", 4, pytest.approx(52)),
    ]


def test_hours_are_summed_by_kind(catalog: Catalog) -> None:
    assert answer(catalog, "hours_by_kind") == [
        ("silent", False, 1, 12 / HOUR),
        ("sound", True, 2, 70 / HOUR),
        ("speech_off_screen", True, 1, 6 / HOUR),
        ("speech_on_screen", True, 1, 8 / HOUR),
    ]


def test_hours_are_summed_by_kind_and_language(catalog: Catalog) -> None:
    assert answer(catalog, "hours_by_kind_and_language") == [
        ("silent", None, False, 1, 12 / HOUR, 0.0),
        ("sound", None, True, 2, 70 / HOUR, 0.0),
        ("speech_off_screen", "de", True, 1, 6 / HOUR, 5 / HOUR),
        ("speech_on_screen", "en", True, 1, 8 / HOUR, 6 / HOUR),
    ]


def test_sources_without_a_licence_are_counted_as_such(catalog: Catalog) -> None:
    assert answer(catalog, "hours_by_licence") == [
        ("CC-BY-3.0", 1, 36 / HOUR),
        ("CC0-1.0", 2, 70 / HOUR),
        ("none", 1, 40 / HOUR),
    ]


def test_a_spoken_word_has_the_times_and_symbols_of_its_phonemes(catalog: Catalog) -> None:
    columns = "clip_id, word, spoken, ipa, start_s, end_s, method"
    word = catalog.value("SELECT word FROM words WHERE clip_id = 'a1' AND position = 0")
    assert answer(catalog, "spoken_words", columns) == [
        ("a1", word, "Hmm", "ħ", 0.0, 0.1, "proportional_clip")
    ]


def test_a_clip_that_could_not_be_aligned_is_flagged(catalog: Catalog) -> None:
    assert answer(catalog, "alignments") == [("a1", "en", 1, 0, None, "proportional_clip")]


def test_a_symbol_without_an_id_is_counted_with_an_example(catalog: Catalog) -> None:
    word = catalog.value("SELECT word FROM words WHERE clip_id = 'a1' AND position = 0")
    assert answer(catalog, "phoneme_inventory") == [("en", "ħ", False, 1, 1, word, "a1")]


def test_a_word_that_the_dictionary_lacks_is_listed_with_its_sound(catalog: Catalog) -> None:
    assert answer(catalog, "words_outside_dictionary") == [("en", "hmm", "ħ", 1, "a1")]


def test_what_is_left_out_says_why(catalog: Catalog) -> None:
    assert answer(catalog, "drop_reasons") == [("silent", "too_quiet", 1, 12 / HOUR)]
    assert answer(catalog, "reject_reasons") == [
        ("decode", "truncated", 1),
        ("probe", "not_media", 1),
    ]


def test_a_stages_progress_counts_its_rejects_and_sums_its_cost(catalog: Catalog) -> None:
    assert answer(catalog, "stage_progress") == [
        ("decode", 4, 1, 6.5),
        ("probe", 5, 1, 1.25),
    ]


def test_a_level_falls_into_the_bin_of_1_db_below_it_also_under_zero(catalog: Catalog) -> None:
    # Asked -4.2, 5.3, 5.9; measured -4.0, 5.9, 6.1. Broadcast's SNR is measured and not asked for.
    assert answer(catalog, "snr_histogram") == [
        ("hard", -5, -4, 1, 0),
        ("hard", -4, -3, 0, 1),
        ("location", 5, 6, 2, 1),
        ("location", 6, 7, 0, 1),
    ]
    assert answer(catalog, "loudness_difference_histogram") == [
        ("broadcast", 14, 15, 1, 0),
        ("broadcast", 15, 16, 0, 1),
    ]


def test_words_and_phonemes_of_a_mixture_lie_where_its_speech_does(catalog: Catalog) -> None:
    wanted = "mixture_words WHERE mix_id IN ('m1', 'm4', 'm5') ORDER BY mix_id, position"
    assert answer(catalog, wanted) == [
        ("m1", 0, "hello", 0.0, 0.5),  # a row of before version 2 of recipes
        ("m1", 1, "there", 1.0, 1.5),
        ("m4", 0, "hello", 2.4, 2.9),
        ("m4", 1, "there", 3.4, 3.9),
        ("m5", 0, "hello", 0.0, 0.5),
        ("m5", 1, "there", 1.0, 1.5),
    ]
    columns = "mix_id, word_position, phoneme, start_s, end_s"
    assert answer(catalog, "mixture_phonemes WHERE mix_id >= 'm4' ORDER BY mix_id", columns) == [
        ("m4", 0, "ħ", 2.4, 2.5),
        ("m5", 0, "ħ", 0.0, 0.1),
    ]


def test_a_mixture_of_one_parent_has_one_source(catalog: Catalog) -> None:
    catalog.connection.execute("BEGIN")
    try:
        for mix in ("m5", "m6"):
            member = row("dataset_items", dataset_id="d2", item_id=mix, task="mixture")
            catalog.insert("dataset_items", [member])
        columns = "item_id, role, clip_id, source_id"
        wanted = "dataset_sources WHERE item_id IN ('m5', 'm6') ORDER BY item_id"
        assert answer(catalog, wanted, columns) == [
            ("m5", "speech", "a1", "A"),
            ("m6", "ambience", "c1", "C"),
        ]
    finally:
        catalog.connection.execute("ROLLBACK")


def test_a_members_sources_are_its_clips_own_or_both_parents_of_the_mixture(
    catalog: Catalog,
) -> None:
    columns = "item_id, role, clip_id, source_id, licence"
    wanted = "dataset_sources WHERE dataset_id = 'd2' ORDER BY item_id, role"
    assert answer(catalog, wanted, columns) == [
        ("a1", "clip", "a1", "A", "CC0-1.0"),
        ("b1", "clip", "b1", "B", "CC-BY-3.0"),
        ("b2", "clip", "b2", "B", "CC-BY-3.0"),
        ("m1", "ambience", "c1", "C", None),
        ("m1", "speech", "a1", "A", "CC0-1.0"),
    ]


def test_a_dataset_card_counts_a_member_once_and_lists_all_its_licences(catalog: Catalog) -> None:
    columns = "version, task, split, members, hours, sources, licences"
    assert answer(catalog, "dataset_cards", columns) == [
        (1, "v2s", "test", 1, 30 / HOUR, 1, ["CC-BY-3.0"]),
        (1, "visual_tts", "train", 1, 8 / HOUR, 1, ["CC0-1.0"]),
        (2, "mixture", "train", 1, 8 / HOUR, 2, ["CC0-1.0", "none"]),
        (2, "tts", "test", 1, 6 / HOUR, 1, ["CC-BY-3.0"]),
        (2, "v2s", "test", 1, 30 / HOUR, 1, ["CC-BY-3.0"]),
        (2, "visual_tts", "train", 1, 8 / HOUR, 1, ["CC0-1.0"]),
    ]


def test_a_mixture_counts_under_the_licence_of_each_parent(catalog: Catalog) -> None:
    assert answer(catalog, "dataset_licences WHERE version = 2") == [
        ("demo", 2, "CC-BY-3.0", 2, 36 / HOUR),
        ("demo", 2, "CC0-1.0", 2, 16 / HOUR),
        ("demo", 2, "none", 1, 8 / HOUR),
    ]


def test_throughput_weighs_each_soundtrack_by_its_length(catalog: Catalog) -> None:
    columns = "run_id, checkpoint_id, preset, soundtracks, audio_hours, compute_s, rtf, slowest_rtf"
    assert answer(catalog, "generation_throughput", columns) == [
        ("r-2", "k1", "tiny", 2, 40 / HOUR, 8.0, 0.2, 0.5),
        ("r-3", "k2", "tiny", 1, 20 / HOUR, 6.0, pytest.approx(0.3), 0.3),
    ]


def test_a_gate_that_is_off_is_asked_of_nobody_and_keeps_what_it_measured(
    catalog: Catalog,
) -> None:
    columns = "gate, threshold, clips_asked, clips_failed, clips_only, clips_left"
    assert answer(catalog, "gates", columns) == [
        ("too_quiet", -60.0, 5, 1, 0, 4),
        ("silent_sound", 0.8, 5, 1, 0, 4),
        ("music_in_sound", None, 0, 0, 0, 4),
    ]
    assert answer(catalog, "gate_checks WHERE position = 3", "DISTINCT value, passed") == [
        (0.9, None)
    ]


def test_each_gate_says_what_it_removes_alone_as_the_only_one_and_in_its_turn(
    tmp_path: Path,
) -> None:
    # Four clips of 1, 2, 4 and 8 hours: the first fails gate 1, the second both, the third gate 2.
    verdicts = {"a": (False, True), "b": (False, False), "c": (True, False), "d": (True, True)}
    kinds, windows = [], []
    for hours, (clip, passed) in zip((1, 2, 4, 8), verdicts.items(), strict=True):
        windows.append(row("windows", clip_id=clip, source_id="s", duration_s=hours * HOUR))
        gates = [
            {"position": place, "gate": f"gate {place}", "threshold": 0.5, "passed": verdict}
            for place, verdict in enumerate(passed, start=1)
        ]
        kinds.append(row("kinds", clip_id=clip, kind="sound", gates=gates))
    with Catalog(Workspace.at(tmp_path).make()) as catalog, catalog.transaction():
        catalog.insert("windows", windows)
        catalog.insert("kinds", kinds)
        assert answer(catalog, "gates") == [
            # position, gate, threshold, asked, failed (alone), only, left: clips and hours
            (1, "gate 1", 0.5, 4, 2, 3.0, 1, 1.0, 2, 12.0),
            (2, "gate 2", 0.5, 4, 2, 6.0, 1, 4.0, 1, 8.0),
        ]


def test_a_source_has_every_licence_that_is_stated_for_its_bytes(catalog: Catalog) -> None:
    assert answer(catalog, "source_licences ORDER BY source_id") == [
        ("A", ["CC0-1.0"], 2),
        ("B", ["CC-BY-3.0"], 1),
        ("C", [], 1),
        ("D", [], 1),
        ("E", ["CC0-1.0"], 1),
    ]


def test_what_a_newest_version_leaves_out_for_its_licence_is_counted(catalog: Catalog) -> None:
    assert answer(catalog, "licence_losses") == [
        ("demo", 2, "licence", "CC0-1.0", 1, 8 / HOUR),
        ("demo", 2, "licence", "unknown", 1, 40 / HOUR),
    ]


def test_names_are_told_apart_neither_by_case_nor_by_spaces(catalog: Catalog) -> None:
    assert answer(catalog, "named_sources ORDER BY source_id") == [
        ("A", "speaker", "anna arendt"),
        ("B", "speaker", "anna arendt"),
    ]


def test_files_of_equal_bytes_are_one_group_of_duplicates(catalog: Catalog) -> None:
    assert answer(catalog, "duplicates", "kind, group_id, uri, score") == [
        ("exact", "A", "/films/a.mp4", 1.0),
        ("exact", "A", "/films/copy-of-a.mp4", 1.0),
    ]


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
def test_a_views_example_query_gives_rows(catalog: Catalog, view: Any) -> None:
    assert view.name in view.query
    assert catalog.rows(view.query)


def test_nothing_is_null_that_is_not_described_as_such(catalog: Catalog) -> None:
    for view in VIEWS.values():
        for column in view.columns:
            if not column.nullable:
                nulls = f"SELECT count(*) FROM {view.name} WHERE {column.name} IS NULL"
                assert catalog.value(nulls) == 0, (view.name, column.name)
