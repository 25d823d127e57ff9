"""Scene cuts by TransNetV2, which finds what a change of colour does not tell: slow transitions.

The decode pass writes a small copy of each picture that it would else look at for a cut, raw and
for as long as the source is worked: 0.35 GB an hour. The network reads them here, outside the
sandbox, as they are plain pixels by then, in windows of 100, as it was trained. So memory does not
grow with a film's length.

Legend: F pictures, H = 27 height, W = 48 width.
"""

import functools
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.ids import sha256_file
from tasks.weights import WEIGHTS, MissingWeight, fingerprint, locate

TRANSNET = "transnetv2"
THUMBNAILS = "thumbnails.rgb"
HEIGHT, WIDTH = 27, 48
RECORD = np.dtype([("time_us", "<i8"), ("rgb", "u1", (HEIGHT, WIDTH, 3))])
WINDOW, CONTEXT, STEP = 100, 25, 50

Score = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""For each of the pictures (F, H, W, 3) of a window, the probability that a shot ends with it."""


class ThumbnailWriter:
    """Writes small pictures with the times at which they are shown, 3.9 kB each."""

    def __init__(self, path: Path) -> None:
        """Makes the file."""
        self._file = path.open("wb")

    def add(self, time_us: int, picture: NDArray[np.uint8]) -> None:
        """Adds the next picture, RGB (H, W, 3)."""
        self._file.write(np.array((time_us, picture), RECORD).tobytes())

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def find_cuts(path: Path, score: Score, threshold: float, min_scene_s: float) -> list[float]:
    """The times in seconds of the cuts between the pictures of a file of `ThumbnailWriter`.

    Empty where there is no file, as for a source without a picture.
    """
    if not path.exists():
        return []
    times_us, scores = score_pictures(path, score)
    return pick_cuts(times_us, scores, threshold, min_scene_s)


def score_pictures(path: Path, score: Score) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Times (F,) in microseconds and scores (F,) of all pictures of a file.

    Each window has 25 pictures of context on both sides; beyond the ends stand the first and the
    last picture, as in the published procedure.
    """
    total = path.stat().st_size // RECORD.itemsize
    times, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for first in range(0, total, STEP):
        wanted = np.arange(WINDOW) + first - CONTEXT
        low, high = max(wanted[0], 0), min(wanted[-1] + 1, total)
        records = np.fromfile(path, RECORD, high - low, offset=low * RECORD.itemsize)
        window = records[np.clip(wanted, 0, total - 1) - low]
        counted = slice(CONTEXT, CONTEXT + min(STEP, total - first))
        times.append(window["time_us"][counted])
        scores.append(score(np.ascontiguousarray(window["rgb"]))[counted])
    return np.concatenate(times), np.concatenate(scores)


def pick_cuts(
    times_us: NDArray[np.int64], scores: NDArray[np.float32], threshold: float, min_scene_s: float
) -> list[float]:
    """The times in seconds of the cuts that scores (F,) of pictures at `times_us` (F,) tell.

    Pictures in a row that reach the threshold are one transition, and the new scene starts with the
    picture after the most probable of them. Of cuts that are closer than `min_scene_s` the first
    one stands.
    """
    above = np.concatenate([[False], scores >= threshold, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2)
    cuts: list[float] = []
    for start, end in edges:
        at = start + int(np.argmax(scores[start:end])) + 1
        if at == len(times_us):
            continue  # nothing follows the last picture
        time_s = int(times_us[at]) / 1e6
        if not cuts or time_s - cuts[-1] >= min_scene_s:
            cuts.append(time_s)
    return cuts


@functools.cache
def load_transnet(weights: str) -> Score:
    """The network on the CPU, loaded once per process, on one thread.

    `weights` is as `weights_sha256` takes it. Raises MissingWeight where there is no such file or
    it holds something else.
    """
    import torch

    from models.transnet import build_transnet

    torch.set_num_threads(1)
    path = _weights_path(weights)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = build_transnet(state)
    except (ValueError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        what = " ".join(str(error).split())[:300]
        raise MissingWeight(f"{path} does not hold {_expected()}: {what}; {_MEND}") from error

    def score(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            single, _ = model(torch.from_numpy(pictures)[None])
            return torch.sigmoid(single[0]).numpy()

    return score


def weights_sha256(weights: str) -> str:
    """The sha256 of the network's weights.

    Args:
        weights: a file with a state dict, or empty for the registered weights.

    Raises MissingWeight for a file that is not there.
    """
    return sha256_file(_weights_path(weights)) if weights else fingerprint(TRANSNET)


_MEND = "name a file in decode.scene_weights, or leave it empty to fetch these"


def _weights_path(weights: str) -> Path:
    if not weights:
        return locate(TRANSNET)
    path = Path(weights).expanduser().resolve()
    if not path.is_file():
        raise MissingWeight(
            f"decode.scene_weights {weights!r}: no file at {path}, which should hold "
            f"{_expected()}; {_MEND}"
        )
    return path


def _expected() -> str:
    known = WEIGHTS[TRANSNET]
    return (
        f"a state dict of TransNetV2 such as {known.member} of {known.package}=={known.version} "
        f"(sha256 {known.sha256})"
    )
