"""Pictures framed anew: as if the film had been mirrored or moved before it was looked at."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from models.motion import motion_energy
from models.pixels import COLOUR_KINDS, FINE_GRID, GRID, LUMA, coarse_pixels, colour_pixels
from tasks.batches import Sample
from tasks.reframe import (
    FARTHEST,
    Reframing,
    drawn_greys,
    drawn_reframings,
    reframed,
    without_colour,
)
from tasks.training_data import TrainingData
from tests.made_model import made_dataset, tiny_sizes
from tests.tasks.test_training_data import CONFIG

PLAIN = np.full((7, 32, 48), 90, np.uint8)


def seen(frames: np.ndarray, grid: int = GRID) -> Sample:
    return {"item_id": "i", "sync": coarse_pixels(frames, grid), "motion": motion_energy(frames)}


def test_a_mirrored_sample_is_that_of_the_mirrored_film() -> None:
    frames = np.random.default_rng(0).integers(0, 256, PLAIN.shape, dtype=np.uint8)
    given = seen(frames)
    before = {name: np.copy(given[name]) for name in ("sync", "motion")}
    found, expected = reframed(given, Reframing(True, 0, 0), GRID), seen(frames[:, :, ::-1])
    for name in ("sync", "motion"):
        np.testing.assert_array_equal(found[name], expected[name])
        assert not np.array_equal(found[name], before[name])
        np.testing.assert_array_equal(given[name], before[name])


@pytest.mark.parametrize(("down", "right"), [(2, 0), (-1, 2), (0, -2)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_moved_sample_is_that_of_the_moved_film(mirrored: bool, down: int, right: int) -> None:
    frames = PLAIN.copy()
    frames[:, 8:24, 12:36] = np.random.default_rng(1).integers(0, 256, (7, 16, 24))
    moved = np.roll(frames[:, :, ::-1] if mirrored else frames, (2 * down, 3 * right), (1, 2))
    given = seen(frames)
    found = reframed(given, Reframing(mirrored, down / 16, right / 16), GRID)
    np.testing.assert_allclose(found["sync"], seen(moved)["sync"], atol=1e-6)
    mirrored_only = reframed(given, Reframing(mirrored, 0, 0), GRID)
    np.testing.assert_array_equal(found["motion"], mirrored_only["motion"])


def test_finer_cells_are_moved_by_the_same_share_of_the_picture() -> None:
    frames = np.full((3, 56, 56), 90, np.uint8)
    frames[:, 20:30, 20:30] = 200
    found = reframed(seen(frames, FINE_GRID), Reframing(False, 0.125, -0.06), FINE_GRID)
    moved = np.roll(frames, (2 * 4, 2 * -2), (1, 2))
    np.testing.assert_allclose(found["sync"], seen(moved, FINE_GRID)["sync"], atol=1e-6)


def test_colour_moves_with_what_has_it() -> None:
    frames = np.full((3, 56, 56, 3), 90, np.uint8)
    frames[:, 20:30, 20:30] = (200, 30, 60)
    given: Sample = {"sync": colour_pixels(frames), "motion": None}
    found = reframed(given, Reframing(True, 0.125, -0.06), FINE_GRID)["sync"]
    moved = colour_pixels(np.roll(frames[:, :, ::-1], (2 * 4, 2 * -2), (1, 2)))
    np.testing.assert_allclose(found, moved, atol=1e-5)


def test_a_film_that_loses_its_colour_is_that_film_in_grey() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 56, 56, 3), dtype=np.uint8)
    grey = np.repeat((frames @ LUMA)[..., None], 3, axis=-1).round().astype(np.uint8)
    given: Sample = {"sync": colour_pixels(frames), "motion": None}
    before = given["sync"].copy()
    found = without_colour(given, FINE_GRID)["sync"]
    np.testing.assert_allclose(found, colour_pixels(grey), atol=0.05)
    assert np.array_equal(given["sync"], before) and not np.allclose(found, before, atol=0.05)
    assert without_colour({"sync": None}, FINE_GRID) == {"sync": None}


def test_a_share_of_samples_loses_its_colour() -> None:
    generator = np.random.default_rng(0)
    assert drawn_greys(3, 0.0, generator) == (False,) * 3
    assert generator.random() == np.random.default_rng(0).random()
    assert sum(drawn_greys(8000, 0.25, generator)) == pytest.approx(2000, abs=150)


def test_what_leaves_the_picture_is_gone_and_what_comes_in_is_as_the_nearest() -> None:
    frames = PLAIN.copy()
    frames[:, :2, :3] = 250
    given = seen(frames)
    level = given["sync"][0, :256].reshape(16, 16)
    found = reframed(given, Reframing(False, 1 / 16, 0), GRID)["sync"][0, :256].reshape(16, 16)
    assert (found[:2, 0] == level[0, 0]).all() and found[2, 0] == level[1, 0] < level[0, 0]
    gone = reframed(given, Reframing(False, -1 / 16, 0), GRID)["sync"][0, :256]
    assert (gone == level[1, 0]).all()


def test_a_sample_without_a_picture_stays_as_it_is() -> None:
    sample: Sample = {"item_id": "i", "sync": None, "motion": None}
    assert reframed(sample, Reframing(True, 0.1, 0.1), GRID) == sample


def test_a_share_of_pictures_is_framed_anew_each_way_alike() -> None:
    drawn = drawn_reframings(8000, 0.25, np.random.default_rng(0))
    found = np.array([how for how in drawn if how is not None])
    assert len(found) == pytest.approx(2000, abs=150)
    assert found[:, 0].mean() == pytest.approx(0.5, abs=0.05)
    for moves in found[:, 1:].T:
        counts, _ = np.histogram(moves, 5, (-FARTHEST, FARTHEST))
        assert counts.sum() == len(found)
        assert counts / len(found) == pytest.approx([0.2] * 5, abs=0.04)
    assert np.abs(np.corrcoef(found.T) - np.eye(3)).max() < 0.1


def test_a_share_of_nothing_draws_nothing() -> None:
    generator = np.random.default_rng(0)
    assert drawn_reframings(3, 0.0, generator) == (None, None, None)
    assert generator.random() == np.random.default_rng(0).random()


def test_a_training_reads_its_pictures_framed_anew_and_all_else_as_before(tmp_path: Path) -> None:
    refs, sizes = made_dataset(tmp_path, sync_dim=2 * 6 * 6), tiny_sizes()
    plain = TrainingData(tmp_path, refs, CONFIG, cells=6)
    anew = TrainingData(tmp_path, refs, dataclasses.replace(CONFIG, reframe=0.5), cells=6)
    changed = 0
    for step in (0, 5):
        plan, other = plain.plan(step), anew.plan(step)
        assert plan.reframings == (None,) * len(plan.picks)
        told = (dataclasses.asdict(one) | {"reframings": ()} for one in (plan, other))
        assert next(told) == next(told)
        one, two = plain.read(plan, sizes), anew.read(other, sizes)
        assert torch.equal(one.latents, two.latents)
        for name in ("phonemes", "visual", "has_sync"):
            assert torch.equal(getattr(one.conditions, name), getattr(two.conditions, name))
        sync = one.conditions.sync, two.conditions.sync
        assert sync[0] is not None and sync[1] is not None
        for row, how in enumerate(other.reframings):
            sample: Sample = {"sync": sync[0][row].numpy(), "motion": None}
            expected = sample if how is None else reframed(sample, how, 6)
            assert np.array_equal(sync[1][row].numpy(), expected["sync"])
            changed += not torch.equal(sync[0][row], sync[1][row])
        part = anew.read(other, sizes, slice(3, 7)).conditions.sync
        assert part is not None and torch.equal(part, sync[1][3:7])
    assert changed


def test_only_coarse_pixels_can_be_framed_anew(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, reframe=0.5)
    refs = made_dataset(tmp_path, sync_dim=8)
    with pytest.raises(ValueError, match=r"train.reframe=0.5 .* set look.sync: pixels"):
        TrainingData(tmp_path, refs, config)


def test_a_training_reads_some_of_its_pictures_without_colour(tmp_path: Path) -> None:
    refs, sizes = made_dataset(tmp_path, sync_dim=COLOUR_KINDS * 6 * 6), tiny_sizes()
    plain = TrainingData(tmp_path, refs, CONFIG, cells=6)
    greyed = TrainingData(tmp_path, refs, dataclasses.replace(CONFIG, grey=0.5), cells=6)
    plan, other = plain.plan(0), greyed.plan(0)
    assert 0 < sum(other.greys) < len(other.greys) and not any(plan.greys)
    assert other.picks == plan.picks and other.starts == plan.starts
    one, two = plain.read(plan, sizes).conditions.sync, greyed.read(other, sizes).conditions.sync
    assert one is not None and two is not None
    for row, is_grey in enumerate(other.greys):
        assert torch.equal(two[row, :, :72], one[row, :, :72])
        assert torch.equal(two[row, :, 72:], one[row, :, 72:] * (not is_grey))


def test_only_coloured_pixels_can_lose_their_colour(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, grey=0.5)
    refs = made_dataset(tmp_path, sync_dim=2 * 6 * 6)
    for cells in (0, 6):
        with pytest.raises(ValueError, match=r"train.grey=0.5 .* set look.sync: colour_pixels"):
            TrainingData(tmp_path, refs, config, cells=cells)
