"""How the faces of a source lie in a blob: their format, its writer and its reader.

The decode pass cuts every face out of the whole frame, at the source's own resolution, because the
square frames for the encoders are too small for a mouth and leave out the sides of a wide picture.
One row is one face in one picture: gray JPEG, square, with the box around the face's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.media import existing_blob

ROWS_PER_GROUP = 200
MARGIN = 1.75
"""Side of a crop over the longer side of its face's box; the mesh network was trained on 1.5."""
BOX = ("box_left", "box_top", "box_right", "box_bottom")
CROPS = pa.schema(
    [
        pa.field("time_s", pa.float64(), nullable=False),  # when the picture was first shown
        pa.field("track", pa.int32(), nullable=False),  # faces that follow each other share one
        pa.field("box_left", pa.float32(), nullable=False),  # the face's box, shares of the frame
        pa.field("box_top", pa.float32(), nullable=False),
        pa.field("box_right", pa.float32(), nullable=False),
        pa.field("box_bottom", pa.float32(), nullable=False),
        pa.field("size_px", pa.float32(), nullable=False),  # longer side of it in the frame
        pa.field("score", pa.float32(), nullable=False),  # the detector's
        pa.field("jpeg", pa.binary(), nullable=False),
    ]
)


class CropWriter:
    """Writes crops in the order of their time; makes no file where there is none."""

    def __init__(self, path: Path) -> None:
        """Remembers where the file goes."""
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[dict[str, Any]] = []
        self.count = 0

    def add(self, row: dict[str, Any]) -> None:
        """Adds one row of `CROPS`."""
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Ends the file."""
        if self._rows:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        # Statistics of time_s let a reader of a short clip touch few row groups.
        statistics: Any = ["time_s"]  # the stubs know a bool only
        self._writer = self._writer or pq.ParquetWriter(
            self._path,
            CROPS,
            compression="none",
            use_dictionary=False,
            write_statistics=statistics,
        )
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=CROPS))
        self._rows = []


@dataclass(frozen=True, slots=True)
class Crop:
    """A face in a picture: when it was shown, its box in shares of the frame, and its pixels."""

    time_s: float
    box: NDArray[np.float32]
    """(4,) left, top, right, bottom."""
    size_px: float
    """Longer side of the box, in pixels of the source."""
    score: float
    jpeg: bytes

    def picture(self) -> NDArray[np.uint8]:
        """Gray pixels (side, side)."""
        import cv2

        picture = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise ValueError(f"a face of {len(self.jpeg)} bytes is not a JPEG picture")
        return np.asarray(picture, np.uint8)


def read_crops(
    workspace_root: str | Path, ref: str, start_s: float, end_s: float
) -> dict[int, list[Crop]]:
    """The crops of [start_s, end_s) by track, each in the order of time, times from `start_s`.

    Raises FileNotFoundError where the blob is missing.
    """
    tracks: dict[int, list[Crop]] = {}
    with pq.ParquetFile(existing_blob(workspace_root, ref)) as parquet:
        for group in range(parquet.num_row_groups):
            times = parquet.metadata.row_group(group).column(0).statistics
            if times.max < start_s or times.min >= end_s:
                continue
            for row in parquet.read_row_group(group).to_pylist():
                if start_s <= row["time_s"] < end_s:
                    tracks.setdefault(row["track"], []).append(_crop(row, start_s))
    return tracks


def _crop(row: dict[str, Any], start_s: float) -> Crop:
    box = np.array([row[side] for side in BOX], np.float32)
    return Crop(row["time_s"] - start_s, box, row["size_px"], row["score"], row["jpeg"])
