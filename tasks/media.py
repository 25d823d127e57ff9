"""How decoded sound and pictures lie in blobs: their writers, and readers for later stages.

Sound is mono FLAC, 16-bit. Pictures are JPEG in Parquet: one row a frame of an even grid, row
groups of 100, so that a reader of a short clip touches few bytes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.timeline import span
from storage.blobs import Blobs

ROWS_PER_GROUP = 100
FULL_SCALE = 32_768  # of 16-bit samples: reading gives back sample / 32768 exactly
FRAMES = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),  # the frame's place on the grid
        pa.field("time_s", pa.float64(), nullable=False),  # when its picture was first shown
        pa.field("jpeg", pa.binary(), nullable=False),
    ]
)


class FrameWriter:
    """Writes the frames of a grid in order, in row groups of `ROWS_PER_GROUP`."""

    def __init__(self, path: Path) -> None:
        """Makes the file."""
        # A held picture repeats its bytes; the dictionary of a row group stores them once.
        self._writer = pq.ParquetWriter(
            path,
            FRAMES,
            compression="none",
            use_dictionary=True,
            dictionary_pagesize_limit=64 << 20,
            write_statistics=False,
        )
        self._rows: list[tuple[int, float, bytes]] = []
        self.count = 0

    def add(self, time_s: float, jpeg: bytes) -> None:
        """Adds the next frame of the grid."""
        # The newest row stays back, because `close` may find it beyond the end.
        if len(self._rows) > ROWS_PER_GROUP:
            self._flush(ROWS_PER_GROUP)
        self._rows.append((self.count, time_s, jpeg))
        self.count += 1

    def close(self, count: int) -> None:
        """Ends the file with exactly `count` frames, at most one fewer than were added."""
        surplus = self.count - count
        if surplus not in (0, 1):
            raise ValueError(f"{self.count} frames were added and {count} belong in the file")
        if surplus:
            self._rows.pop()
        self.count = count
        while self._rows:
            self._flush(ROWS_PER_GROUP)
        self._writer.close()

    def _flush(self, rows: int) -> None:
        batch, self._rows = self._rows[:rows], self._rows[rows:]
        columns = zip(*batch, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, FRAMES, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=FRAMES))


def to_pcm16(audio: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] as int16, clipped and rounded without dither: the same each time."""
    steps = audio * FULL_SCALE
    np.rint(steps, out=steps)
    np.clip(steps, -FULL_SCALE, FULL_SCALE - 1, out=steps)
    return steps.astype(np.int16)


def read_audio(
    workspace_root: str | Path, ref: str, start_s: float, end_s: float, rate_hz: int
) -> np.ndarray:
    """The sound of [start_s, end_s): float32 (1, count(end_s - start_s, rate_hz)).

    What lies beyond either end of the sound is silence. Raises ValueError where the blob has
    another rate than `rate_hz`, and FileNotFoundError where it is missing.
    """
    import soundfile

    first, last = span(start_s, end_s, rate_hz)
    path = existing_blob(workspace_root, ref)
    audio = np.zeros((1, last - first), np.float32)
    with soundfile.SoundFile(str(path)) as stream:
        _require_rate(ref, stream.samplerate, rate_hz)
        begin, end = max(first, 0), min(last, stream.frames)
        if begin < end:
            stream.seek(begin)
            audio[0, begin - first : end - first] = stream.read(end - begin, dtype="float32")
    return audio


def audio_blocks(
    workspace_root: str | Path, ref: str, block_samples: int, rate_hz: int
) -> Iterator[np.ndarray]:
    """The whole sound in blocks, float32 (samples,), of which only the last may be shorter.

    Raises ValueError where the blob has another rate than `rate_hz`, and FileNotFoundError where it
    is missing.
    """
    import soundfile

    with soundfile.SoundFile(str(existing_blob(workspace_root, ref))) as stream:
        _require_rate(ref, stream.samplerate, rate_hz)
        while len(block := stream.read(block_samples, dtype="float32")):
            yield block


def _require_rate(ref: str, found_hz: int, rate_hz: int) -> None:
    if found_hz != rate_hz:
        raise ValueError(f"{ref}: has {found_hz} Hz, asked for {rate_hz} Hz")


def read_frames(
    workspace_root: str | Path, ref: str, start_s: float, end_s: float, fps: int
) -> np.ndarray:
    """The frames of [start_s, end_s): uint8 (F, H, W, 3) RGB, or (F, H, W) where they are gray.

    F is count(end_s - start_s, fps). Beyond its ends the grid holds its first and last frame. Only
    the row groups that are needed are read. Raises FileNotFoundError where the blob is missing.
    """
    first, last = span(start_s, end_s, fps)
    with pq.ParquetFile(existing_blob(workspace_root, ref)) as parquet:
        total = parquet.metadata.num_rows
        if not total:
            raise ValueError(f"{ref}: the blob holds no frames")
        wanted = np.clip(np.arange(first, max(last, first + 1)), 0, total - 1)
        groups = range(wanted[0] // ROWS_PER_GROUP, wanted[-1] // ROWS_PER_GROUP + 1)
        jpegs = parquet.read_row_groups(list(groups), columns=["jpeg"])["jpeg"]
        offset = groups[0] * ROWS_PER_GROUP
        return _pictures([jpegs[int(k) - offset].as_py() for k in wanted])[: last - first]


def read_frame_times(
    workspace_root: str | Path, ref: str, start_s: float, end_s: float, fps: int
) -> np.ndarray:
    """When the pictures of `read_frames` were first shown: float64 (F,), seconds from `start_s`.

    Frames that hold one picture have one time, which may lie before the clip.
    """
    first, last = span(start_s, end_s, fps)
    times = pq.read_table(existing_blob(workspace_root, ref), columns=["time_s"])["time_s"]
    chosen = np.clip(np.arange(first, last), 0, len(times) - 1)
    return times.to_numpy()[chosen] - start_s


def _pictures(jpegs: list[bytes]) -> np.ndarray:
    import cv2

    pictures: list[np.ndarray] = []
    for number, jpeg in enumerate(jpegs):
        if number and jpeg == jpegs[number - 1]:
            pictures.append(pictures[-1])
            continue
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED)
        if picture is None:
            raise ValueError(f"a frame of {len(jpeg)} bytes is not a JPEG picture")
        pictures.append(picture if picture.ndim == 2 else picture[:, :, ::-1])
    return np.stack(pictures)


def existing_blob(workspace_root: str | Path, ref: str) -> Path:
    """The path of a blob; raises FileNotFoundError where it is missing."""
    path = Blobs(workspace_root).path(ref)
    if not path.exists():
        raise FileNotFoundError(f"{path}: the blob is missing; redo the stage that made it")
    return path
