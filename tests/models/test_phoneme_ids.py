import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.phoneme_ids import (
    INVENTORY,
    INVENTORY_SIZE,
    NONE_ID,
    PAUSE_ID,
    TABLE_ID,
    UNKNOWN_ID,
    ids_on_grid,
    normalise,
    phoneme_id,
    split,
    table_id,
)

FROZEN = 51, "a871178691a1"
"""Symbols that were in the first table, and the table's hash."""


def test_the_first_symbols_keep_their_ids_whatever_is_appended() -> None:
    number, digest = FROZEN
    assert table_id(INVENTORY[:number]) == digest, (
        "an id has changed its meaning, which makes every dataset and model wrong: append instead"
    )


def test_the_table_is_another_when_a_symbol_is_appended_or_two_change_places() -> None:
    swapped = (INVENTORY[1], INVENTORY[0], *INVENTORY[2:])
    assert len({TABLE_ID, table_id((*INVENTORY, "ø")), table_id(swapped)}) == 3
    assert table_id(INVENTORY) == TABLE_ID


def test_the_inventory_is_without_doubles() -> None:
    assert len(set(INVENTORY)) == len(INVENTORY)


def test_ids_are_the_numbers_after_the_reserved_three() -> None:
    assert [phoneme_id(symbol) for symbol in INVENTORY] == list(range(3, INVENTORY_SIZE))
    assert phoneme_id("sil") == PAUSE_ID


@pytest.mark.parametrize("symbol", INVENTORY)
def test_every_symbol_of_the_inventory_is_its_own_normal_form(symbol: str) -> None:
    assert normalise(symbol) == symbol
    assert split(symbol) == [symbol]


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [
        ("ˈiː", ["i"]),
        ("ˌɑːɹ", ["ɑ", "ɹ"]),
        ("t͡ʃ", ["tʃ"]),
        ("ˈaɪɚ", ["aɪ", "ɚ"]),
        ("əl", ["ə", "l"]),
        ("n̩", ["n"]),
        ("g", ["ɡ"]),
        ("|", ["sil"]),
        ("", []),
    ],
)
def test_marks_come_off_and_compounds_come_apart(symbol: str, parts: list[str]) -> None:
    assert split(symbol) == parts


def test_a_symbol_outside_the_inventory_is_unknown_not_none() -> None:
    assert phoneme_id("ǂ") == UNKNOWN_ID


def test_phonemes_fill_their_latents_and_silence_between_stays_none() -> None:
    ids = ids_on_grid([("k", 0.04, 0.12), ("æ", 0.12, 0.2), ("t", 0.28, 0.32)], 0.4)
    k, a, t = phoneme_id("k"), phoneme_id("æ"), phoneme_id("t")
    assert ids.tolist() == [0, k, k, a, a, 0, 0, t, 0, 0]
    assert ids.dtype == np.int64


def test_a_phoneme_shorter_than_a_latent_is_kept_where_there_is_room() -> None:
    assert phoneme_id("t") in ids_on_grid([("t", 0.105, 0.115)], 0.4)


def test_a_short_phoneme_gives_way_to_a_longer_one() -> None:
    ids = ids_on_grid([("æ", 0.0, 0.2), ("t", 0.105, 0.115)], 0.2)
    assert set(ids.tolist()) == {phoneme_id("æ")}


def test_a_compound_shares_its_time_equally() -> None:
    ids = ids_on_grid([("ɑːɹ", 0.0, 0.16)], 0.16)
    assert ids.tolist() == [phoneme_id("ɑ")] * 2 + [phoneme_id("ɹ")] * 2


def test_what_lies_outside_the_clip_is_cut_off() -> None:
    ids = ids_on_grid([("s", -1.0, 0.08), ("z", 0.32, 9.0), ("k", 5.0, 6.0)], 0.4)
    assert ids.tolist() == [phoneme_id("s")] * 2 + [NONE_ID] * 6 + [phoneme_id("z")] * 2


def test_a_phoneme_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="before it starts"):
        ids_on_grid([("s", 0.2, 0.1)], 1.0)


@given(
    st.lists(st.tuples(st.text(max_size=4), st.floats(0, 5), st.floats(0, 1)), max_size=20),
    st.floats(0, 5),
)
def test_any_phonemes_give_one_valid_id_per_latent(
    rows: list[tuple[str, float, float]], duration_s: float
) -> None:
    ids = ids_on_grid([(s, start, start + length) for s, start, length in rows], duration_s)
    assert len(ids) == int(duration_s * 25 + 0.5)
    assert ((ids >= 0) & (ids < INVENTORY_SIZE)).all()
