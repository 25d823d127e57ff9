"""Scales decoded frames and sets them upright, for the sandbox alone."""

from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av.error import FFmpegError
from av.filter import Graph

from storage.rejects import Rejected

Fit = Literal["square", "whole", "at_most"]


class Scaler:
    """Scales frames of any shape of pixels to one size and one pixel format, upright."""

    def __init__(self, side: int, sample_aspect: float, pixels: str, fit: Fit) -> None:
        """What comes out of `of`.

        Args:
            side: pixels of the result's longer side.
            sample_aspect: width of a pixel over its height.
            pixels: libav's name of the pixel format: bgr24, rgb24 or gray.
            fit: `square` is the centre square of the frame; `whole` is all of it; `at_most` is all
                of it, and a frame whose longer side is shorter than `side` keeps its size.
        """
        self._side = side
        self._aspect = sample_aspect if 0.1 < sample_aspect < 10 else 1.0
        self._pixels = pixels
        self._fit: Fit = fit
        self._key: tuple[Any, ...] = ()
        self._graph = Graph()

    def of(self, frame: av.VideoFrame) -> np.ndarray:
        """The frame as uint8 (height, width, 3), or (height, width) where it is gray.

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

    def size_of(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Width and height that a frame is scaled to, before it is set upright."""
        if self._fit == "square":
            return self._side, self._side
        shown = (frame.width * self._aspect, float(frame.height))
        factor = self._side / max(shown)
        if self._fit == "at_most":
            factor = min(factor, 1.0)
        width, height = (max(round(side * factor), 1) for side in shown)
        return width, height

    def _build(self, frame: av.VideoFrame) -> None:
        # One field of an interlaced frame: no comb, no neighbours needed, and 288 lines are enough.
        lines = frame.height // 2 if frame.interlaced_frame else frame.height
        graph = Graph()
        graph.threads = 1
        nodes = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=Fraction(frame.time_base or 1),
            )
        ]
        if frame.interlaced_frame:
            nodes.append(graph.add("field", "type=top"))
        if self._fit == "square":
            shown_width = frame.width * self._aspect
            width = round(min(shown_width, frame.height) / self._aspect)
            height = round(lines * min(1.0, shown_width / frame.height))
            nodes.append(graph.add("crop", f"{max(width, 1)}:{max(height, 1)}"))
        wide, high = self.size_of(frame)
        nodes += [
            graph.add("scale", f"{wide}:{high}:flags=area"),
            graph.add("format", self._pixels),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        self._graph = graph
