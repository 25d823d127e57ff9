"""ARPAbet and IPA: VSSFlow's phones all have ids, and two transcriptions find each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.arpabet import STRESSED, id_of, ipa_of, phone_of
from models.phone_distance import distance, matched
from models.phoneme_ids import INVENTORY, UNKNOWN_ID


def test_all_69_phones_of_vssflow_have_an_id_of_their_own_symbol() -> None:
    assert len(set(STRESSED)) == 69
    assert all(id_of(phone) > UNKNOWN_ID for phone in STRESSED)
    plain = {phone.rstrip("012") for phone in STRESSED}
    assert len({ipa_of(phone) for phone in plain}) == 39


def test_unstressed_vowels_are_reduced() -> None:
    assert (ipa_of("AH0"), ipa_of("AH1"), ipa_of("ER0"), ipa_of("ER1")) == ("ə", "ʌ", "ɚ", "ɜ")


@pytest.mark.parametrize("phone", ["", "Q", "B1", "AH3", "ah", "SIL"])
def test_what_is_no_phone_is_refused(phone: str) -> None:
    with pytest.raises(ValueError, match="no ARPAbet phone"):
        ipa_of(phone)


@pytest.mark.parametrize("symbol", INVENTORY)
def test_every_symbol_has_a_phone_that_sounds_like_it(symbol: str) -> None:
    phone = phone_of(symbol)
    assert phone is not None
    assert distance(symbol, ipa_of(phone)) <= 0.5


def test_a_phone_comes_back_from_its_symbol() -> None:
    assert all(phone_of(ipa_of(phone)) == phone.rstrip("012") for phone in STRESSED)


@pytest.mark.parametrize(
    ("symbols", "phones", "pairs"),
    [
        ("b ʌ ɾ ɚ", "B AH T ER", "b=B ʌ=AH ɾ=T ɚ=ER"),
        ("f aɪ ɚ", "F AY R", "f=F aɪ=AY ɚ=R"),
        ("j uː", "UW", "j+uː=UW"),
        ("p ɹ ɑː b l i", "P R AA B AH B L IY", "p=P ɹ=R ɑː=AA b=B+AH+B l=L i=IY"),
        ("k ɑː ɹ", "K AA R", "k=K ɑː=AA ɹ=R"),
    ],
)
def test_symbols_meet_the_phones_that_they_sound_like(
    symbols: str, phones: str, pairs: str
) -> None:
    left, right = symbols.split(), phones.split()
    groups = matched(left, [ipa_of(phone) for phone in right])
    assert groups is not None
    told = ["+".join(left[i] for i in a) + "=" + "+".join(right[j] for j in b) for a, b in groups]
    assert " ".join(told) == pairs


symbols = st.lists(st.sampled_from(INVENTORY), min_size=1, max_size=12)


@given(symbols, symbols)
def test_groups_cover_both_sides_once_and_in_order(left: list[str], right: list[str]) -> None:
    groups = matched(left, right)
    if groups is None:
        assert max(len(left), len(right)) > 4 * min(len(left), len(right))
        return
    assert [i for own, _ in groups for i in own] == list(range(len(left)))
    assert [j for _, theirs in groups for j in theirs] == list(range(len(right)))


@given(st.sampled_from(INVENTORY), st.sampled_from(INVENTORY))
def test_distance_is_a_symmetric_share(a: str, b: str) -> None:
    assert distance(a, b) == distance(b, a)
    assert 0.0 <= distance(a, b) <= 1.0
    assert (distance(a, b) == 0.0) == (a == b) or distance(a, b) < 0.1


def test_nothing_matches_nothing() -> None:
    assert matched([], ["t"]) is None and matched(["t"], []) is None
