"""The same film as another camera would have framed it: mirrored, or moved a little.

What is heard does not depend on where in the picture it is seen: a model whose clips are framed
anew each time that they are read cannot learn their places by heart.

Legend: N latents (25 Hz), G grid cells per side.
"""

import math
from typing import NamedTuple

import numpy as np

from models.motion import WHOLE_DIM
from models.pixels import GREY_KINDS
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


def drawn_greys(samples: int, share: float, generator: np.random.Generator) -> tuple[bool, ...]:
    """Which samples lose their colour: a share of them. A share of 0 draws nothing."""
    if not share:
        return (False,) * samples
    return tuple((generator.random(samples) < share).tolist())


def without_colour(sample: Sample, cells: int) -> Sample:
    """A sample whose coarse pixels, of `cells` per side, are those of the same film in grey."""
    if (sync := sample.get("sync")) is None:
        return sample
    grey = sync.copy()
    grey[:, GREY_KINDS * cells**2 :] = 0
    return {**sample, "sync": grey}


def reframed(sample: Sample, how: Reframing, cells: int) -> Sample:
    """A sample with its coarse pixels, of `cells` per side, and its motion framed anew.

    Pixels move by whole cells, and those that nothing has moved to are as the nearest. Motion,
    whose cells are larger than any move, is mirrored only; features of whole pictures stay,
    and so does all else.
    """
    sync, motion = sample.get("sync"), sample.get("motion")
    new = dict(sample)
    if sync is not None:
        grids = sync.reshape(len(sync), -1, cells, cells)
        grids = grids[..., ::-1] if how.mirrored else grids
        rows = np.clip(np.arange(cells) - round(how.down * cells), 0, cells - 1)
        columns = np.clip(np.arange(cells) - round(how.right * cells), 0, cells - 1)
        new["sync"] = grids[:, :, rows[:, None], columns].reshape(sync.shape)
    if motion is not None and how.mirrored:
        mirrored = motion.copy()
        side = math.isqrt(motion.shape[1] - WHOLE_DIM)
        grid = motion[:, WHOLE_DIM:].reshape(len(motion), side, side)
        mirrored[:, WHOLE_DIM:] = grid[..., ::-1].reshape(len(motion), -1)
        new["motion"] = mirrored
    return new
