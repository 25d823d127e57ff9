"""How far two sets of sounds lie apart as sets: Fréchet and kernel distance of their features.

Neither asks which sound belongs to which; both ask whether the sets could be one. Rows of X and Y
are features of stretches of sound, several for each clip.

Legend: N, M rows, D numbers a row, C clips, of which clip i has n_i rows.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
MEDIAN_ROWS = 500
"""Rows whose distances the kernel's width is the median of."""


def frechet_distance(first: Rows, second: Rows) -> float:
    """The squared Wasserstein-2 distance of the normal laws with the sets' means and covariances.

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½) of X (N, D), Y (M, D) (Dowson and Landau, 1982).
    From few rows it is too large: a set drawn twice is then far from itself. Raises ValueError for
    a set of less than two rows.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} rows; a covariance needs two")
    moved = first.mean(axis=0) - second.mean(axis=0)
    cov1, cov2 = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (first, second))
    root = _square_root(cov1)
    shared = np.linalg.eigvalsh(root @ cov2 @ root)
    both = np.trace(cov1) + np.trace(cov2) - 2 * np.sqrt(np.maximum(shared, 0)).sum()
    return float(moved @ moved + both)


def _square_root(covariance: Rows) -> Rows:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def kernel_width(rows: Rows) -> float:
    """The median distance between rows (N, D), of `MEDIAN_ROWS` of them; 1 where it is 0."""
    few = rows[np.unique(np.linspace(0, len(rows) - 1, MEDIAN_ROWS).astype(int))]
    apart = _squared_distances(few, few)[np.triu_indices(len(few), 1)]
    median = float(np.sqrt(np.median(apart))) if len(apart) else 0.0
    return median or 1.0


def clip_kernels(first: Sequence[Rows], second: Sequence[Rows], width: float) -> Rows:
    """The mean Gaussian kernel exp(−|x − y|² / (2 width²)) between the rows of each two clips.

    (C₁, C₂) for sequences of (n_i, D).
    """
    x, y = np.concatenate(list(first)), np.concatenate(list(second))
    kernel = np.exp(_squared_distances(x, y) / (-2 * width**2))
    starts_x = np.cumsum([0, *map(len, first)])[:-1]
    starts_y = np.cumsum([0, *map(len, second)])[:-1]
    sums = np.add.reduceat(np.add.reduceat(kernel, starts_x, axis=0), starts_y, axis=1)
    return sums / np.outer([len(rows) for rows in first], [len(rows) for rows in second])


def kernel_distance(own: Rows, other: Rows, between: Rows) -> float:
    """The squared maximum mean discrepancy of two sets of clips, by their kernels (C, C) each.

    Clip i of one set is made of clip i of the other, so a clip is compared neither with itself nor
    with its own partner: the estimate is unbiased (Gretton et al., 2012), 0 on average for sets of
    one law, and may be negative. Raises ValueError for less than two clips.
    """
    return float(kernel_distances(own, other, between, np.arange(len(own))[None])[0])


def kernel_distances(own: Rows, other: Rows, between: Rows, picks: NDArray[np.intp]) -> Rows:
    """The kernel distance (draws,) of each draw of clips, `picks` (draws, C), in their pairs."""
    if len(own) < 2:
        raise ValueError(f"{len(own)} clips; a kernel distance needs two")
    whole = own + other - between - between.T
    np.fill_diagonal(whole, 0.0)
    clips = len(own)
    # A clip that a draw holds k times has k² pairs with itself, which do not count.
    times = np.stack([np.bincount(pick, minlength=clips) for pick in picks]).astype(np.float64)
    pairs = times.sum(axis=1) ** 2 - np.square(times).sum(axis=1)
    sums = np.einsum("dc,dc->d", times @ whole, times)
    return np.divide(sums, pairs, out=np.full(len(picks), np.nan), where=pairs > 0)


def _squared_distances(x: Rows, y: Rows) -> Rows:
    squares = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)[None]
    return np.maximum(squares - 2 * x @ y.T, 0.0)
