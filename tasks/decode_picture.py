"""The picture side of the decode pass: square frames on even grids, faces, and scene cuts.

B, G, R is the order of colour arrays here, because OpenCV and PySceneDetect take it so; JPEG files
hold what any reader gives back as RGB. This module is imported by the sandbox alone.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import av
import cv2
import numpy as np
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detector import FlashFilter

from models.timeline import MOTION_FPS, VISUAL_FPS, count
from tasks.decode import DecodeConfig
from tasks.decode_faces import Faces
from tasks.face_networks import Detector
from tasks.media import FrameWriter
from tasks.scaler import Scaler
from tasks.scenes import HEIGHT, THUMBNAILS, TRANSNET, WIDTH, ThumbnailWriter

MICROSECOND = Fraction(1, 1_000_000)


class Picture:
    """Takes the decoded frames of a video in order and writes the grids."""

    def __init__(self, folder: Path, config: DecodeConfig, stream: Any, detector: str) -> None:
        """Opens its files in a folder.

        Args:
            folder: where the files go.
            config: sizes and thresholds.
            stream: gives the shape of its pixels and its rate.
            detector: the file of the face detector.
        """
        self._config = config
        aspect = float(stream.sample_aspect_ratio or 1)
        side = max(config.visual_px, config.motion_px if config.motion else 0)
        self._square = Scaler(side, aspect, "bgr24", "square")
        self._whole = Scaler(2 * WIDTH, aspect, "rgb24", "whole")
        self._thumbnails: ThumbnailWriter | None = None
        if config.scene_detector == TRANSNET:
            self._thumbnails = ThumbnailWriter(folder / THUMBNAILS)
        colour = FrameWriter(folder / "frames10.parquet")
        self._grids = [FrameGrid(VISUAL_FPS, colour, self._colour_jpeg)]
        if config.motion:
            gray = FrameWriter(folder / "frames25.parquet")
            self._grids.append(FrameGrid(MOTION_FPS, gray, self._gray_jpeg))
        if config.colour25:
            often = FrameWriter(folder / "colour25.parquet")
            self._grids.append(FrameGrid(MOTION_FPS, often, self._often_jpeg))
        self._faces: Faces | None = None
        if config.finds_faces:
            self._faces = Faces(folder / "faces.parquet", config, Detector(detector), aspect)
            self._face_grid = FrameGrid(MOTION_FPS, self._faces, _as_it_is)
        rate = Fraction(stream.average_rate or MOTION_FPS)
        self._cuts = Cuts(config.scene_threshold, float(config.min_scene_s), rate)
        self._newest: Scaled | None = None
        self._newest_us = -1
        self.cuts_s: list[float] = []
        self.end_us = 0

    def show(self, frame: av.VideoFrame, start_us: int, length_us: int) -> None:
        """Takes the next frame; one that starts no later than the one before is left out."""
        start_us = max(start_us, 0)
        if start_us <= self._newest_us:
            return
        self.end_us = start_us + length_us
        scaled = Scaled(frame, self._square, self._config.motion_px)
        for grid in self._grids:
            grid.show(start_us, scaled)
        if self._faces is not None:
            self._face_grid.show(start_us, frame)
        self._look_for_a_cut()
        self._newest, self._newest_us = scaled, start_us

    def finish(self, duration_s: float) -> tuple[int, int | None]:
        """Holds the last picture to the end; returns the frame counts at 10 and at 25 fps."""
        first, *others = [grid.finish(duration_s) for grid in self._grids]
        if self._faces is not None:
            self._face_grid.finish(duration_s)
        self._look_for_a_cut()
        if self._thumbnails is not None:
            self._thumbnails.close()
        return first, others[0] if self._config.motion else None

    def _look_for_a_cut(self) -> None:
        """Looks at the newest picture, unless no grid showed it, as every second one at 50 fps."""
        if not self._config.motion or self._newest is None or not self._newest.was_shown:
            return
        if self._thumbnails is not None:
            self._thumbnails.add(self._newest_us, self._newest.thumbnail(self._whole))
        else:
            self.cuts_s += self._cuts.look(self._newest_us, self._newest.small)

    @property
    def faces_count(self) -> int | None:
        """Faces in pictures that were cut out; None where none was looked for."""
        return self._faces.crops if self._faces else None

    def _colour_jpeg(self, scaled: "Scaled") -> bytes:
        return _jpeg(_resized(scaled.large, self._config.visual_px), self._config.jpeg_quality)

    def _often_jpeg(self, scaled: "Scaled") -> bytes:
        side = self._config.colour25_px or self._config.visual_px
        image = scaled.small if side == self._config.motion_px else _resized(scaled.large, side)
        return _jpeg(image, self._config.jpeg_quality)

    def _gray_jpeg(self, scaled: "Scaled") -> bytes:
        gray = cv2.cvtColor(scaled.small, cv2.COLOR_BGR2GRAY)
        return _jpeg(gray, self._config.jpeg_quality)


class Scaled:
    """A frame that is scaled when a grid first shows it, and once."""

    def __init__(self, frame: av.VideoFrame, scaler: Scaler, motion_px: int) -> None:
        """Holds the frame as it was decoded."""
        self._frame = frame
        self._scaler = scaler
        self._motion_px = motion_px
        self.was_shown = False

    @cached_property
    def large(self) -> np.ndarray:
        """The square in the larger of both sizes, uint8 BGR."""
        self.was_shown = True
        return self._scaler.of(self._frame)

    @cached_property
    def small(self) -> np.ndarray:
        """The square in the size of the 25 fps grid, uint8 BGR."""
        return _resized(self.large, self._motion_px)

    def thumbnail(self, scaler: Scaler) -> np.ndarray:
        """What the scaler gives, stretched to the shape that TransNetV2 takes."""
        whole = scaler.of(self._frame)
        return cv2.resize(whole, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


class Cuts:
    """Finds scene cuts as PySceneDetect's ContentDetector does, whose flash filter it uses.

    The score is the same number, the mean absolute difference of hue, saturation and value, from
    one call of OpenCV instead of nine of NumPy.
    """

    def __init__(self, threshold: float, min_scene_s: float, fps: Fraction) -> None:
        """`fps` is the source's average rate, which PySceneDetect wants beside times."""
        self._threshold = threshold
        self._filter = FlashFilter(FlashFilter.Mode.MERGE, min_scene_s)
        self._fps = fps
        self._last: np.ndarray | None = None

    def look(self, time_us: int, image: np.ndarray) -> list[float]:
        """The times in seconds of the cuts that are known after a picture, uint8 BGR."""
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        last, self._last = self._last, hsv
        score = 0.0 if last is None else cv2.norm(hsv, last, cv2.NORM_L1) / hsv.size
        now = FrameTimecode(Timecode(time_us, MICROSECOND), self._fps)
        return [cut.seconds for cut in self._filter.filter(now, score >= self._threshold)]


Shown = TypeVar("Shown")
Coded = TypeVar("Coded")
Taken = TypeVar("Taken", contravariant=True)


class Sink(Protocol[Taken]):
    """What takes the frames of a grid, such as a `FrameWriter`."""

    count: int

    def add(self, time_s: float, coded: Taken, /) -> None:
        """Takes the next frame."""

    def close(self, count: int) -> None:
        """Ends with exactly `count` frames, at most one fewer than were added."""


class FrameGrid(Generic[Shown, Coded]):
    """Samples pictures at an even rate: frame k is the last picture shown at k / fps."""

    def __init__(self, fps: int, writer: Sink[Coded], encode: Callable[[Shown], Coded]) -> None:
        """Starts at frame 0; a picture is encoded when a frame needs it, and once."""
        self._fps = fps
        self._writer = writer
        self._encode = encode
        self._image: Shown | None = None
        self._coded: Coded | None = None
        self._shown_us = 0

    def show(self, time_us: int, image: Shown) -> None:
        """A new picture appears; the one before fills the grid up to, not including, this time."""
        if self._image is not None:
            while self._writer.count * 1_000_000 < time_us * self._fps:
                self._add()
        self._image, self._coded, self._shown_us = image, None, time_us

    def finish(self, duration_s: float) -> int:
        """Fills the grid with the last picture and closes it; returns its number of frames."""
        frames = count(duration_s, self._fps)
        while self._writer.count < frames:
            self._add()
        self._writer.close(frames)
        return frames

    def _add(self) -> None:
        assert self._image is not None
        if self._coded is None:
            self._coded = self._encode(self._image)
        self._writer.add(self._shown_us / 1e6, self._coded)


def _as_it_is(frame: av.VideoFrame) -> av.VideoFrame:
    return frame


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    if image.shape[0] == side:
        return image
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} could not be written as JPEG")
    return data.tobytes()
