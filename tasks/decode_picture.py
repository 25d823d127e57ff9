"""The picture side of the decode pass: square frames on even grids, and scene cuts.

B, G, R is the order of colour arrays here, because OpenCV and PySceneDetect take it so; JPEG files
hold what any reader gives back as RGB. This module is imported by the sandbox alone.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import ContentDetector

from models.timeline import MOTION_FPS, VISUAL_FPS, count
from storage.rejects import Rejected
from tasks.decode import DecodeConfig
from tasks.media import FrameWriter

MICROSECOND = Fraction(1, 1_000_000)


class Picture:
    """Takes the decoded frames of a video in order and writes both grids."""

    def __init__(self, folder: Path, config: DecodeConfig, stream: Any) -> None:
        """Opens both files in a folder; `stream` gives the shape of its pixels and its rate."""
        self._config = config
        self._square = Square(
            max(config.visual_px, config.motion_px), float(stream.sample_aspect_ratio or 1)
        )
        colour = FrameWriter(folder / "frames10.parquet")
        gray = FrameWriter(folder / "frames25.parquet")
        self._grids = (
            FrameGrid(VISUAL_FPS, colour, self._colour_jpeg),
            FrameGrid(MOTION_FPS, gray, self._gray_jpeg),
        )
        self._detector = ContentDetector(config.scene_threshold, float(config.min_scene_s))
        self._rate = Fraction(stream.average_rate or MOTION_FPS)
        self._newest_us = -1
        self.cuts_s: list[float] = []
        self.end_us = 0

    def show(self, frame: av.VideoFrame, start_us: int, length_us: int) -> None:
        """Takes the next frame; one that starts no later than the one before is left out."""
        start_us = max(start_us, 0)
        if start_us <= self._newest_us:
            return
        self._newest_us = start_us
        self.end_us = start_us + length_us
        image = self._square.of(frame)
        for grid in self._grids:
            grid.show(start_us, image)
        small = _resized(image, self._config.motion_px)
        now = FrameTimecode(Timecode(start_us, MICROSECOND), self._rate)
        for cut in self._detector.process_frame(now, small):
            self.cuts_s.append(cut.seconds)

    def finish(self, duration_s: float) -> tuple[int, int]:
        """Holds the last picture to the end; returns the frame counts at 10 and at 25 fps."""
        first, second = (grid.finish(duration_s) for grid in self._grids)
        return first, second

    def _colour_jpeg(self, image: np.ndarray) -> bytes:
        return _jpeg(_resized(image, self._config.visual_px), self._config.jpeg_quality)

    def _gray_jpeg(self, image: np.ndarray) -> bytes:
        small = _resized(image, self._config.motion_px)
        return _jpeg(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), self._config.jpeg_quality)


class FrameGrid:
    """Samples pictures at an even rate: frame k is the last picture shown at k / fps."""

    def __init__(
        self, fps: int, writer: FrameWriter, encode: Callable[[np.ndarray], bytes]
    ) -> None:
        """Starts at frame 0; a picture is encoded when a frame needs it, and once."""
        self._fps = fps
        self._writer = writer
        self._encode = encode
        self._image: np.ndarray | None = None
        self._jpeg: bytes | None = None
        self._shown_us = 0

    def show(self, time_us: int, image: np.ndarray) -> None:
        """A new picture appears; the one before fills the grid up to, not including, this time."""
        if self._image is not None:
            while self._writer.count * 1_000_000 < time_us * self._fps:
                self._add()
        self._image, self._jpeg, self._shown_us = image, None, time_us

    def finish(self, duration_s: float) -> int:
        """Fills the grid with the last picture and closes it; returns its number of frames."""
        frames = count(duration_s, self._fps)
        while self._writer.count < frames:
            self._add()
        self._writer.close(frames)
        return frames

    def _add(self) -> None:
        assert self._image is not None
        if self._jpeg is None:
            self._jpeg = self._encode(self._image)
        self._writer.add(self._shown_us / 1e6, self._jpeg)


class Square:
    """Scales the short side of a frame to `side` pixels, crops the centre and sets it upright."""

    def __init__(self, side: int, sample_aspect: float) -> None:
        """`sample_aspect` is the width of a pixel over its height."""
        self._side = side
        self._aspect = sample_aspect if 0.1 < sample_aspect < 10 else 1.0
        self._key: tuple[Any, ...] = ()
        self._graph = Graph()

    def of(self, frame: av.VideoFrame) -> np.ndarray:
        """The frame as uint8 (side, side, 3), BGR.

        Raises Rejected("unsupported") for pixels that libav cannot scale.
        """
        key = (frame.width, frame.height, frame.format.name, frame.interlaced_frame)
        try:
            if key != self._key:
                self._build(frame)
                self._key = key
            self._graph.vpush(frame)
            image = self._graph.vpull().to_ndarray()
        except MemoryError:
            raise
        except FFmpegError as error:
            size = f"{frame.width}x{frame.height} {frame.format.name}"
            raise Rejected(
                "unsupported", f"its pictures ({size}) cannot be scaled: {error.strerror}"
            ) from None
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def _build(self, frame: av.VideoFrame) -> None:
        # One field of an interlaced frame: no comb, no neighbours needed, and 288 lines are enough.
        lines = frame.height // 2 if frame.interlaced_frame else frame.height
        shown_width = frame.width * self._aspect
        width = round(min(shown_width, frame.height) / self._aspect)
        height = round(lines * min(1.0, shown_width / frame.height))
        graph = Graph()
        graph.threads = 1
        nodes = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=Fraction(frame.time_base or MICROSECOND),
            )
        ]
        if frame.interlaced_frame:
            nodes.append(graph.add("field", "type=top"))
        nodes += [
            graph.add("crop", f"{max(width, 1)}:{max(height, 1)}"),
            graph.add("scale", f"{self._side}:{self._side}:flags=area"),
            graph.add("format", "bgr24"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        self._graph = graph


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    if image.shape[0] == side:
        return image
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} could not be written as JPEG")
    return data.tobytes()
