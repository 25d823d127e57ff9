"""Which items are said by their lips, and what a model is shown and told of them then."""

from typing import Any

import numpy as np

from tasks.by_lips import lips_partners, samples_by_lips


def sample(rows: int, value: float, **values: Any) -> dict[str, Any]:
    """A sample of so many latents, in which the first of two phonemes is short."""
    made = np.full((rows, 2), value, np.float32) + np.arange(rows, dtype=np.float32)[:, None]
    said = np.zeros(rows, np.int64)
    said[10:12], said[12:16] = 5, 6
    return {
        "latents": made, "phonemes": said, "lips": made, "motion": made, "sync": None,
        "visual": made[: rows * 2 // 5],
    } | values  # fmt: skip


def test_both_are_told_the_same_words_without_times_and_the_control_sees_another() -> None:
    own = sample(40, 0.0)
    for rows in (30, 50):
        other = sample(rows, 100.0, visual=None)
        found = samples_by_lips(own, other)
        for one in found.values():
            assert np.array_equal(one["phonemes"], np.repeat([5, 6], 20))
            assert one["latents"] is own["latents"]
        assert found["score"]["lips"] is own["lips"]
        control = found["control"]
        assert control["visual"] is None and control["sync"] is None
        for name in ("lips", "motion"):
            assert len(control[name]) == 40
            assert np.array_equal(control[name][:30], other["lips"][:30])
            assert control[name][-1, 0] == 100 + min(rows, 40) - 1


def row(item_id: str, said: str, **values: Any) -> dict[str, Any]:
    words = [{"word": word, "start_s": n + 0.1, "end_s": n + 0.9}
             for n, word in enumerate(said.split())]  # fmt: skip
    return {
        "item_id": item_id, "task": "visual_tts", "split": "test", "duration_s": 5.0,
        "words": words, "text": said, "mixture": None, "voice_start_s": 0.0, "voice_end_s": 5.0,
        "sound_start_s": None, "true_kind": None, "events": None,
    } | values  # fmt: skip


def test_items_are_chosen_whose_lips_alone_can_time_their_words() -> None:
    rows = [
        row("a", "a dog"), row("same", "a dog"), row("untimed", "a bird", words=None),
        row("heard", "a bird", task="tts"), row("both", "a bird", task="mixture"),
        row("blind", "a bird"), row("b", "the door"), row("alone", "a tree", split="validation"),
    ]  # fmt: skip
    samples = {one["item_id"]: sample(40, 0.0) for one in rows}
    samples["blind"]["lips"] = None
    every = {"a": "b", "same": "b", "b": "a"}
    assert lips_partners(rows, samples, 9) == every
    assert lips_partners(rows, samples, 1) == {"a": "b"}
    assert lips_partners(rows, samples, 0) == {}
