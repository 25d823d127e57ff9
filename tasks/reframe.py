"""The same film as another camera would have framed it: mirrored, or moved a little.

What is heard does not depend on where in the picture it is seen: a model whose clips are framed
anew each time that they are read cannot learn their places by heart.

Legend: N latents (25 Hz), G grid cells per side.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.motion import WHOLE_DIM
from tasks.batches import Sample

FARTHEST = 0.125
"""Share of its side by which a picture is moved at most."""


class Reframing(NamedTuple):
    """How a picture is framed anew.

    Attributes:
        mirrored: whether left and right change places.
        down: share of its height by which it is moved down; up where negative.
        right: share of its width by which it is then moved right; left where negative.
    """

    mirrored: bool
    down: float
    right: float


def drawn_reframings(
    samples: int, share: float, generator: np.random.Generator
) -> tuple[Reframing | None, ...]:
    """How the pictures of samples are framed, None for those that stay; a share of them does not.

    Half of the others are mirrored, and all are moved by up to `FARTHEST` each way. A share
    of 0 draws nothing.
    """
    if not share:
        return (None,) * samples
    drawn = generator.random((samples, 2)).tolist()
    moved = generator.uniform(-FARTHEST, FARTHEST, (samples, 2)).tolist()
    return tuple(
        Reframing(side < 0.5, down, right) if one < share else None
        for (one, side), (down, right) in zip(drawn, moved, strict=True)
    )


def reframed(sample: Sample, how: Reframing) -> Sample:
    """A sample with its coarse pixels and its motion framed anew, all else as it is.

    Pixels move by whole cells, and those that nothing has moved to are as the nearest. Motion,
    whose cells are larger than any move, is mirrored only; features of whole pictures stay.
    """
    sync, motion = sample.get("sync"), sample.get("motion")
    new = dict(sample)
    if sync is not None:
        grids = _grids(sync, 2)
        grids = grids[..., ::-1] if how.mirrored else grids
        cells = grids.shape[-1]
        rows = np.clip(np.arange(cells) - round(how.down * cells), 0, cells - 1)
        columns = np.clip(np.arange(cells) - round(how.right * cells), 0, cells - 1)
        new["sync"] = grids[:, :, rows[:, None], columns].reshape(sync.shape)
    if motion is not None and how.mirrored:
        mirrored = motion.copy()
        cells = _grids(motion[:, WHOLE_DIM:], 1)
        mirrored[:, WHOLE_DIM:] = cells[..., ::-1].reshape(len(motion), -1)
        new["motion"] = mirrored
    return new


def _grids(values: NDArray[np.floating], grids: int) -> NDArray[np.floating]:
    """Features (N, grids · G · G) as grids (N, grids, G, G)."""
    side = math.isqrt(values.shape[1] // grids)
    return values.reshape(len(values), grids, side, side)
