"""Durations that were learned, and phonemes that are laid in time by them."""

import itertools

import numpy as np
import pytest
import torch

from models.durations import DurationPredictor, duration_loss
from models.phoneme_ids import NONE_ID, phoneme_id
from tasks.durations import fit_durations, predicted_s, spoken_at_pace, utterance_of

LONG, SHORT, LENGTHENED = "a", "t", "n"
FRAMES = {LONG: 5, SHORT: 2, LENGTHENED: 3}


def made_grid(generator: np.random.Generator) -> np.ndarray:
    """A clip in which a vowel lasts 0.2 s, a stop 0.08 s, and a nasal 0.12 s, 0.24 s at the end."""
    symbols = [(LONG, SHORT)[n % 2] for n in range(int(generator.integers(3, 9)))] + [LENGTHENED]
    if generator.random() < 0.5:
        symbols.insert(0, LENGTHENED)
    frames = [FRAMES[symbol] for symbol in symbols]
    frames[-1] *= 2
    said = np.repeat([phoneme_id(symbol) for symbol in symbols], frames)
    return np.concatenate([np.zeros(10, np.int64), said, np.zeros(5, np.int64)])


@pytest.fixture(scope="module")
def model() -> DurationPredictor:
    generator = np.random.default_rng(0)
    fitted = fit_durations([made_grid(generator) for _ in range(60)], seed=0, steps=150)
    assert fitted is not None
    return fitted


def test_an_utterance_is_the_runs_of_a_grid_without_what_is_not_said() -> None:
    ids, seconds = utterance_of(np.array([NONE_ID, 5, 5, 5, NONE_ID, NONE_ID, 7, 5, NONE_ID]))
    assert ids.tolist() == [5, 7, 5]
    assert seconds.tolist() == pytest.approx([0.12, 0.04, 0.04])


def test_durations_that_depend_on_the_phoneme_and_its_place_are_learned(
    model: DurationPredictor,
) -> None:
    found = predicted_s([LENGTHENED, LONG, SHORT, LONG, SHORT, LENGTHENED], model)
    assert found == pytest.approx([0.12, 0.2, 0.08, 0.2, 0.08, 0.24], rel=0.15)


def test_a_compound_symbol_lasts_as_long_as_its_parts(model: DurationPredictor) -> None:
    apart = predicted_s([LONG, SHORT, LENGTHENED], model)
    assert predicted_s([LONG + SHORT, LENGTHENED], model) == pytest.approx(
        [apart[0] + apart[1], apart[2]]
    )


def test_training_again_gives_the_same_weights_and_silence_gives_no_predictor(
    model: DurationPredictor,
) -> None:
    generator = np.random.default_rng(0)
    grids = [made_grid(generator) for _ in range(60)]
    again = fit_durations(grids, seed=0, steps=150)
    assert again is not None
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert fit_durations([np.zeros(20, np.int64)], seed=0) is None


def test_what_fills_a_batch_up_changes_neither_prediction_nor_loss() -> None:
    torch.manual_seed(1)
    model = DurationPredictor()
    ids = torch.randint(3, 20, (1, 6))
    mask = torch.ones(1, 6, dtype=torch.bool)
    seconds = torch.rand(1, 6) + 0.05
    longer = torch.cat([ids, torch.full((1, 4), 9)], 1)
    longer_mask = torch.cat([mask, torch.zeros(1, 4, dtype=torch.bool)], 1)
    longer_s = torch.cat([seconds, torch.full((1, 4), 99.0)], 1)
    torch.testing.assert_close(model(longer, longer_mask)[:, :6], model(ids, mask))
    torch.testing.assert_close(
        duration_loss(model, longer, longer_s, longer_mask),
        duration_loss(model, ids, seconds, mask),
    )


def test_speech_begins_with_its_cue_at_its_own_pace_and_is_hurried_where_the_cue_is_short(
    model: DurationPredictor,
) -> None:
    times = [(0, 1.0, 3.0), (0, 3.0, 9.0), (1, 9.0, 9.2)]
    words = [{"cue": cue, "start_s": begin, "end_s": end} for cue, begin, end in times]
    said = zip("atanatan", [0, 0, 1, 1, 2, 2, 2, 2], strict=True)
    rows = [{"phoneme": symbol, "word_position": word} for symbol, word in said]
    own_s = predicted_s(list("atan"), model)
    timed = spoken_at_pace(rows, words, model)
    free, hurried = timed[:4], timed[4:]
    assert free[0]["start_s"] == 1.0
    assert [row["end_s"] - row["start_s"] for row in free] == pytest.approx(own_s)
    assert (hurried[0]["start_s"], hurried[-1]["end_s"]) == (9.0, pytest.approx(9.2))
    shares = [(row["end_s"] - row["start_s"]) / 0.2 for row in hurried]
    assert shares == pytest.approx([s / sum(own_s) for s in own_s])
    for cue in (free, hurried):
        assert all(a["end_s"] == b["start_s"] for a, b in itertools.pairwise(cue))
