"""Distances of sets against laws whose distance is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.frechet import (
    clip_kernels,
    frechet_distance,
    kernel_distance,
    kernel_distances,
    kernel_width,
)


def whitened(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same rows with mean 0 and the identity as their covariance, exactly."""
    centred = rows - rows.mean(axis=0)
    root = np.linalg.cholesky(np.linalg.inv(np.cov(centred, rowvar=False)))
    return centred @ root


def test_the_frechet_distance_of_normal_laws_is_the_one_of_the_formula() -> None:
    unit = whitened(np.random.default_rng(0).normal(size=(200, 3)))
    assert frechet_distance(unit, unit) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(unit, unit + np.array([3, 0, 4])) == pytest.approx(25)
    # Covariances 1 and diag(4, 9, 1): the sum of (1 - 2)², (1 - 3)² and 0.
    assert frechet_distance(unit, unit * np.array([2, 3, 1])) == pytest.approx(5)
    # Two that do not commute, in closed form: tr of a 2 x 2 root is sqrt(tr + 2 sqrt(det)).
    flat = whitened(np.random.default_rng(1).normal(size=(90, 2)))
    first, second = np.array([[2.0, 1.0], [1.0, 2.0]]), np.diag([1.0, 3.0])
    product = first @ second
    shared = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    rows = [flat @ np.linalg.cholesky(cov).T for cov in (first, second)]
    assert frechet_distance(*rows) == pytest.approx(4 + 4 - 2 * shared)


def test_a_set_with_fewer_rows_than_numbers_has_a_distance_all_the_same() -> None:
    few = np.random.default_rng(2).normal(size=(4, 30))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match="needs two"):
        frechet_distance(few[:1], few)


def distance(first: list[NDArray[np.float64]], second: list[NDArray[np.float64]]) -> float:
    width = kernel_width(np.concatenate(first))
    return kernel_distance(
        clip_kernels(first, first, width),
        clip_kernels(second, second, width),
        clip_kernels(first, second, width),
    )


def clips(seed: int, moved: float = 0.0, count: int = 60) -> list[NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    return [random.normal(moved, 1, (int(random.integers(2, 6)), 8)) for _ in range(count)]


def test_the_kernel_distance_of_one_law_is_about_0_and_grows_with_what_sets_apart() -> None:
    same = [distance(clips(2 * seed), clips(2 * seed + 1)) for seed in range(12)]
    assert abs(np.mean(same)) < 2 * np.std(same) / np.sqrt(len(same)) + 1e-4
    apart = [distance(clips(0), clips(1, moved)) for moved in (0.3, 1.0, 9.0)]
    assert max(same) < apart[0] < apart[1] < apart[2]
    # Far apart the kernel between them is 0, and each set's own stays.
    assert apart[2] < 2


def test_the_kernel_of_clips_is_the_mean_over_their_rows() -> None:
    first, second = clips(3, count=4), clips(4, count=4)
    kernels = clip_kernels(first, second, 2.0)
    apart = first[1][:, None] - second[2][None]
    assert kernels[1, 2] == pytest.approx(np.exp(-np.square(apart).sum(axis=-1) / 8).mean())


def test_drawing_each_clip_once_is_the_distance_and_a_clip_is_never_held_against_itself() -> None:
    width, first, second = 2.0, clips(5, count=6), clips(6, 0.5, count=6)
    own = clip_kernels(first, first, width)
    other = clip_kernels(second, second, width)
    between = clip_kernels(first, second, width)
    whole = kernel_distance(own, other, between)
    picks = np.array([np.random.default_rng(0).permutation(6), [0, 0, 0, 1, 1, 1], [2] * 6])
    drawn = kernel_distances(own, other, between, picks)
    pair = own[0, 1] + other[0, 1] - between[0, 1] - between[1, 0]
    assert drawn[:2] == pytest.approx([whole, pair])
    assert np.isnan(drawn[2])
    with pytest.raises(ValueError, match="needs two"):
        kernel_distance(own[:1, :1], other[:1, :1], between[:1, :1])
