"""The faces of the decode pass: found in the whole frame, followed, and cut out at full size.

Every 0.4 s, or every second while there is no face, the detector looks at the whole frame; between
two looks a face's box moves in a straight line. Pictures wait as the decoder gave them until the
look after them is done, so a film without faces pays for the looks alone. This module is imported
by the sandbox alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.faces import DETECTOR_PX, Boxes, match_boxes
from tasks.decode import DecodeConfig
from tasks.face_crops import BOX, MARGIN, CropWriter
from tasks.scaler import Scaler

Detect = Callable[[NDArray[np.uint8], float], tuple[Boxes, NDArray[np.float32]]]
"""Boxes and scores of the faces in a picture, by `tasks/face_networks.py`."""

LOOK_EVERY_S = 0.4
SEARCH_EVERY_S = 1.0  # while no face is known: what appears in between is followed back
HELD_BYTES = 128 << 20  # larger pictures are looked at more often, so that fewer wait
MAX_MISSED = 2  # looks in a row that may miss a face before its track ends
LONGEST_PX = 1280  # a larger frame is scaled down to this before faces are cut out


@dataclass(slots=True)
class _Track:
    number: int
    box: NDArray[np.float32]
    score: float
    missed: int = 0


@dataclass(frozen=True, slots=True)
class _Path:
    """A face's way through the pictures between two looks."""

    number: int
    start: NDArray[np.float32]
    end: NDArray[np.float32]
    score: float


class Faces:
    """Takes the pictures of the 25 fps grid in order and writes the faces in them."""

    def __init__(self, path: Path, config: DecodeConfig, detect: Detect, aspect: float) -> None:
        """Opens nothing before there is a face; `aspect` is the width of a pixel over its height.

        `path` is the file that it may make.
        """
        self._config = config
        self._writer = CropWriter(path)
        self._detect = detect
        self._small = Scaler(DETECTOR_PX, aspect, "rgb24", "whole")
        self._large = Scaler(LONGEST_PX, aspect, "gray", "at_most")
        self._waiting: list[tuple[float, av.VideoFrame]] = []
        self._first_is_known = False
        self._tracks: list[_Track] = []
        self._next_number = 0
        self.count = 0

    @property
    def crops(self) -> int:
        """How many faces in pictures were written."""
        return self._writer.count

    def add(self, time_s: float, frame: av.VideoFrame) -> None:
        """Takes the next picture of the grid; one that is held is taken once."""
        self.count += 1
        if self._waiting and self._waiting[-1][0] == time_s:
            return
        self._waiting.append((time_s, frame))
        held_bytes = len(self._waiting) * sum(plane.buffer_size for plane in frame.planes)
        every_s = LOOK_EVERY_S if self._tracks else SEARCH_EVERY_S
        if time_s - self._waiting[0][0] >= every_s or held_bytes > HELD_BYTES:
            self._catch_up()

    def close(self, count: int) -> None:
        """Ends the file; `count` is the grid's number of frames."""
        if self._waiting:
            if len(self._waiting) > 1 or not self._first_is_known:
                self._catch_up()
            held = [_Path(t.number, t.box, t.box, t.score) for t in self._tracks]
            self._write(held, self._waiting, self._waiting[-1][0])
        self._writer.close()

    def _catch_up(self) -> None:
        """Follows the faces up to the newest picture, and lets go of those before it."""
        newest = self._found(self._waiting[-1][1])
        if not self._tracks and len(newest[0]):
            # A face has come since the last look: look at what is between in the shorter step.
            next_s = self._waiting[0][0] + (LOOK_EVERY_S if self._first_is_known else 0.0)
            for time_s, frame in self._waiting[:-1]:
                if time_s >= next_s:
                    self._walk(time_s, self._found(frame))
                    next_s = time_s + LOOK_EVERY_S
        self._walk(self._waiting[-1][0], newest)

    def _walk(self, end_s: float, found: tuple[Boxes, NDArray[np.float32]]) -> None:
        """Writes the pictures that wait before `end_s`, where these faces were found."""
        paths = self._follow(*found)
        before = sum(time_s < end_s for time_s, _ in self._waiting)
        self._write(paths, self._waiting[:before], end_s)
        self._waiting, self._first_is_known = self._waiting[before:], True

    def _follow(self, boxes: Boxes, scores: NDArray[np.float32]) -> list[_Path]:
        """Takes the faces of a look into the tracks; returns the ways since the look before."""
        known = np.array([track.box for track in self._tracks], np.float32).reshape(-1, 4)
        pairs = match_boxes(known, boxes)
        paths, kept = [], []
        for old, track in enumerate(self._tracks):
            start = track.box
            if old in pairs:
                track.box, track.score = boxes[pairs[old]], float(scores[pairs[old]])
                track.missed = 0
            else:
                track.missed += 1
            paths.append(_Path(track.number, start, track.box, track.score))
            if track.missed < MAX_MISSED:
                kept.append(track)
        for new in sorted(set(range(len(boxes))) - set(pairs.values())):
            track = _Track(self._next_number, boxes[new], float(scores[new]))
            self._next_number += 1
            paths.append(_Path(track.number, track.box, track.box, track.score))
            kept.append(track)
        self._tracks = kept
        return paths

    def _found(self, frame: av.VideoFrame) -> tuple[Boxes, NDArray[np.float32]]:
        """The largest faces of a picture that are large enough, from left to right."""
        boxes, scores = self._detect(self._small.of(frame), self._config.face_min_score)
        size = np.array(_shown_size(self._large, frame), np.float32)
        sides = ((boxes[:, 2:] - boxes[:, :2]) * size).max(axis=1, initial=0.0)
        order = np.argsort(-sides, kind="stable")[: self._config.max_faces]
        chosen = order[sides[order] >= self._config.face_min_px]
        chosen = chosen[np.argsort(boxes[chosen, 0], kind="stable")]
        return boxes[chosen], scores[chosen]

    def _write(
        self, paths: list[_Path], pictures: Sequence[tuple[float, av.VideoFrame]], end_s: float
    ) -> None:
        """Cuts the faces on their ways out of pictures that were shown up to `end_s`."""
        if not paths or not pictures:
            return
        start_s = pictures[0][0]
        for time_s, frame in pictures:
            gray = self._large.of(frame)
            part = (time_s - start_s) / (end_s - start_s) if end_s > start_s else 0.0
            for path in paths:
                box = (path.start + (path.end - path.start) * part).astype(np.float32)
                self._writer.add(self._row(time_s, path, box, gray, frame))

    def _row(
        self,
        time_s: float,
        path: _Path,
        box: NDArray[np.float32],
        gray: NDArray[np.uint8],
        frame: av.VideoFrame,
    ) -> dict[str, Any]:
        height, width = gray.shape
        px = box * np.array([width, height, width, height], np.float32)
        side = float(max(px[2] - px[0], px[3] - px[1]))
        centre = (float(px[0] + px[2]) / 2, float(px[1] + px[3]) / 2)
        crop = cut_square(gray, centre, side * MARGIN, self._config.face_px)
        quality = [cv2.IMWRITE_JPEG_QUALITY, self._config.jpeg_quality]
        _, jpeg = cv2.imencode(".jpg", crop, quality)
        row = dict(zip(BOX, box.tolist(), strict=True))
        scale = frame.height / self._large.size_of(frame)[1]
        row |= {"time_s": time_s, "track": path.number, "score": path.score}
        return row | {"size_px": side * scale, "jpeg": jpeg.tobytes()}


def _shown_size(scaler: Scaler, frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height that the scaler gives an upright frame."""
    width, height = scaler.size_of(frame)
    return (height, width) if round(frame.rotation / 90) % 2 else (width, height)


def cut_square(
    gray: NDArray[np.uint8], centre: tuple[float, float], side: float, px: int
) -> NDArray[np.uint8]:
    """A square of a gray picture, scaled to (px, px); beyond the edge the edge repeats.

    Args:
        gray: (H, W).
        centre: of the square, x before y, in pixels; fractions count, so that a face that moves
            slowly does not tremble in its crops.
        side: of the square, in pixels.
        px: side of the result.
    """
    factor = int(side // px)
    (x, y), height, width = centre, gray.shape[0], gray.shape[1]
    if factor > 1:
        # Linear interpolation over more than two pixels would skip some: average them first.
        left, top = max(int(x - side / 2) - factor, 0), max(int(y - side / 2) - factor, 0)
        right = min(int(x + side / 2) + factor + 1, width)
        bottom = min(int(y + side / 2) + factor + 1, height)
        if right - left > factor and bottom - top > factor:
            right -= (right - left) % factor
            bottom -= (bottom - top) % factor
            small = ((right - left) // factor, (bottom - top) // factor)
            gray = np.asarray(
                cv2.resize(gray[top:bottom, left:right], small, interpolation=cv2.INTER_AREA),
                np.uint8,
            )
            x, y, side = (x - left) / factor, (y - top) / factor, side / factor
    scale = px / side
    matrix = np.array([[scale, 0, px / 2 - x * scale], [0, scale, px / 2 - y * scale]])
    cut = cv2.warpAffine(
        gray, matrix, (px, px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, np.uint8)
