"""The two face networks, run by LiteRT on the CPU: a detector and a mesh.

Both are Google's (MediaPipe, Apache-2.0). One thread each, so answers do not depend on the machine.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.faces import DETECTOR_PX, MESH_POINTS, MESH_PX, Boxes, decode_boxes
from tasks.weights import locate

DETECTOR = "face_detector"
MESH = "face_mesh"


class Detector:
    """Finds faces in a picture."""

    def __init__(self, path: str) -> None:
        """Loads the network from its file."""
        self._network = _Network(path)

    def __call__(
        self, picture: NDArray[np.uint8], min_score: float
    ) -> tuple[Boxes, NDArray[np.float32]]:
        """Boxes (N, 4) as shares of an RGB picture (H, W, 3), and scores (N,), highest first.

        The longer side must be `DETECTOR_PX`; the rest of the square input is black.
        """
        height, width = picture.shape[:2]
        top, left = (DETECTOR_PX - height) // 2, (DETECTOR_PX - width) // 2
        square = np.zeros((DETECTOR_PX, DETECTOR_PX, 3), np.uint8)
        square[top : top + height, left : left + width] = picture
        raw, logits = self._network(square.astype(np.float32) / 127.5 - 1.0, 2)
        boxes, scores = decode_boxes(raw.reshape(-1, 16), logits.ravel(), min_score)
        boxes = boxes * DETECTOR_PX - np.array([left, top, left, top], np.float32)
        return boxes / np.array([width, height, width, height], np.float32), scores


class Mesh:
    """Lays 468 points on a face."""

    def __init__(self, path: str) -> None:
        """Loads the network from its file."""
        self._network = _Network(path)

    def __call__(self, crop: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Points (468, 3) in shares of a square gray crop, and the probability of a face there."""
        sized = cv2.resize(crop, (MESH_PX, MESH_PX), interpolation=cv2.INTER_LINEAR)
        image = np.repeat(sized[:, :, None].astype(np.float32) / 255.0, 3, axis=2)
        points, logit = self._network(image, 2)
        chance = 1.0 / (1.0 + np.exp(-np.clip(logit.ravel()[0], -80, 80)))
        return points.reshape(MESH_POINTS, 3) / np.float32(MESH_PX), float(chance)


class _Network:
    """A LiteRT interpreter of one image."""

    def __init__(self, path: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with _quiet_stderr():
            self._interpreter: Any = Interpreter(model_path=path, num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    def __call__(self, image: NDArray[np.float32], outputs: int) -> list[NDArray[np.float32]]:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs[:outputs]]


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keeps LiteRT's remark on its delegate out of the log of whatever goes wrong later."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@functools.cache
def load_mesh() -> Mesh:
    """The mesh network, loaded once per process."""
    return Mesh(str(locate(MESH)))
