"""Ids are made of content: equal content, equal id, whatever the order, path or process."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.ids import ID_HEX, canonical_json, clip_id, hash_of, mix_id, sha256_file

# hashlib.file_digest reads this much at a time.
BUFFER_BYTES = 1 << 18

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=8,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    b: int
    a: tuple[int, ...]


@given(st.dictionaries(st.text("abcdef", min_size=1), VALUES))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(backwards)
    assert hash_of(value) == hash_of(backwards)


@given(VALUES, VALUES)
def test_parts_are_not_run_together(left: object, right: object) -> None:
    assert hash_of(left, right) != hash_of([left, right])
    assert hash_of("ab", "c") != hash_of("a", "bc")
    assert len(hash_of(left)) == ID_HEX


def test_a_dataclass_is_its_fields() -> None:
    assert canonical_json(Pair(1, (2, 3))) == '{"a":[2,3],"b":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_without_a_canonical_form_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": value})


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), Pair])
def test_what_json_does_not_hold_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical JSON form"):
        canonical_json(value)


@pytest.mark.parametrize("size", [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1])
def test_a_file_is_hashed_whole(tmp_path: Path, size: int) -> None:
    data = bytes(k % 251 for k in range(size))
    path = tmp_path / "made"
    path.write_bytes(data)
    assert sha256_file(path) == hashlib.sha256(data).hexdigest()


@given(st.integers(0, 10**10), st.integers(1, 10**7))
def test_a_clip_id_follows_whole_microseconds(start_us: int, length_us: int) -> None:
    start_s, end_s = start_us / 1e6, (start_us + length_us) / 1e6
    own = clip_id("s", start_s, end_s)
    assert own == clip_id("s", start_s + 1e-7, end_s - 1e-7)
    assert own != clip_id("s", start_s, end_s + 1e-6)
    assert own != clip_id("t", start_s, end_s)


def test_a_mixture_is_its_recipe_and_no_clip() -> None:
    assert mix_id({"a": 1, "b": 2}) == mix_id({"b": 2, "a": 1})
    assert mix_id({"a": 1}) != mix_id({"a": 2})
    assert mix_id({"a": 1}) != hash_of("clip", {"a": 1})
