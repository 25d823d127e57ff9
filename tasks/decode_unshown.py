"""Pictures that no frame of a grid shows need no decoding, where no other picture is made of them.

This module is imported by the sandbox alone.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from tasks.container import microseconds

TELLS_REFERENCES = ("h264",)  # where a packet says that no later picture is made of it
PACKETS_AHEAD = 24  # with fewer a picture may seem to be shown for longer, and is decoded
HELD_BYTES = 32 << 20
OBJECT_BYTES = 1 << 10  # of a packet beside its data


class Unshown:
    """Has a decoder leave out what no frame of a grid shows: frame k is the last one at k / fps.

    The decoder does so only with pictures that no other refers to, so the others stay as they are;
    of those the ones count that are shown before another that came before them.
    What is damaged among those that are left out goes unnoticed.
    """

    def __init__(self, stream: Any, fps: int) -> None:
        """Leaves nothing out before `zero_us`, the timeline's zero, is set."""
        self.zero_us: int | None = None
        self._stream = stream
        self._fps = fps
        self._waiting: deque[Any] = deque()
        self._held_bytes = 0
        self._starts_us: deque[int] = deque(maxlen=2 * PACKETS_AHEAD)
        self._latest_us = 0  # of the packets that were given
        self._is_timed = True

    def told(self, packets: Iterable[Any]) -> Iterator[Any]:
        """The packets as they come, each when the decoder knows what to do with it."""
        pictures = 0
        for packet in packets:
            self._waiting.append(packet)
            self._held_bytes += packet.size + OBJECT_BYTES
            if packet.stream.index == self._stream.index:
                pictures += 1
                self._note(packet)
            while pictures > PACKETS_AHEAD or self._held_bytes > HELD_BYTES:
                pictures -= self._waiting[0].stream.index == self._stream.index
                yield self._next()
        while self._waiting:
            yield self._next()

    def _note(self, packet: Any) -> None:
        if packet.pts is not None and not packet.is_discard:
            self._starts_us.append(microseconds(packet.pts, packet.time_base))
        elif packet.size:
            self._is_timed = False  # a picture without a time, or one that an edit list hides

    def _next(self) -> Any:
        packet = self._waiting.popleft()
        self._held_bytes -= packet.size + OBJECT_BYTES
        if packet.stream.index == self._stream.index:
            skipped = "NONREF" if self._is_unshown(packet) else "DEFAULT"
            self._stream.codec_context.skip_frame = skipped
        return packet

    def _is_unshown(self, packet: Any) -> bool:
        if self.zero_us is None or not self._is_timed or packet.pts is None:
            return False
        start_us = microseconds(packet.pts, packet.time_base)
        if start_us > self._latest_us:
            # Times that only grow are those of decoding where a container knows no others.
            self._latest_us = start_us
            return False
        next_us = min((other for other in self._starts_us if other > start_us), default=None)
        if next_us is None or start_us < self.zero_us:
            return False
        start_us, next_us = start_us - self.zero_us, next_us - self.zero_us
        frame = -(-start_us * self._fps // 1_000_000)  # the first that can show it
        return frame * 1_000_000 >= next_us * self._fps
