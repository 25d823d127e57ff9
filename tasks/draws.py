"""Random numbers that depend on what they are for and on nothing else."""

import hashlib
from typing import Any

import numpy as np

from storage.ids import canonical_json

DIGITS = 6


def keyed_generator(*key: Any) -> np.random.Generator:
    """A generator for a key that JSON holds: equal keys give equal numbers, in every process."""
    digest = hashlib.sha256(canonical_json(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def rounded(value: float) -> float:
    """A number with the six digits that recipes and measures keep."""
    # Adding zero turns -0.0 into 0.0, which is another text in JSON.
    return round(float(value), DIGITS) + 0.0
