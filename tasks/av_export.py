"""Writes the sounds and pictures of generated items as av-benchmark takes them.

Legend: T samples at 16 kHz, F frames, H height, W width.
"""

from collections.abc import Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, MOTION_FPS, VISUAL_FPS, count
from tasks.av_benchmark import SOUNDS, Exported
from tasks.media import read_frames, to_pcm16
from tasks.scores import TRUTH

FOLDER = "av-benchmark"
HELD_S = 0.4


class AvExport:
    """Folders of sounds by split and role, filled item by item."""

    def __init__(self, scratch: Path) -> None:
        """Nothing is written yet below the scratch folder."""
        self._folder = scratch / FOLDER
        self._lengths_s: dict[str, list[float]] = {}

    def add(
        self,
        workspace_root: str,
        row: Mapping[str, Any],
        sounds: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Writes an item of HELD_OUT_COLUMN: its sounds (T,) by role, and its picture.

        Pictures are those of the workspace: in colour at 25 fps where they are kept for an encoder,
        else at 10 fps. None is written of a mixture, and of what has none or has lost it.
        """
        import soundfile

        name, folder = row["item_id"], self._folder / row["split"]
        self._lengths_s.setdefault(row["split"], []).append(row["duration_s"])
        for role in (TRUTH, *SOUNDS):
            path = folder / role / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, to_pcm16(sounds[role]), AUDIO_HZ, subtype="PCM_16")
        fps = MOTION_FPS if row.get("colour25_ref") else VISUAL_FPS
        ref = row.get("colour25_ref") or row.get("frames10_ref")
        if row["task"] == "tts" or not ref:
            return
        try:
            frames = read_frames(workspace_root, ref, row["start_s"], row["end_s"], fps)
        except FileNotFoundError:  # frames may be evicted once they are encoded
            return
        write_film(folder / "video" / f"{name}.mp4", frames, fps)

    def splits(self) -> dict[str, Exported]:
        """What was written, by split; the shortest item says how much of each is scored."""
        return {
            split: Exported(self._folder / split, round(min(lengths_s), 3), len(lengths_s))
            for split, lengths_s in self._lengths_s.items()
        }


def write_film(path: Path, frames: NDArray[np.uint8], fps: int) -> None:
    """Writes frames (F, H, W, 3) as H.264 in MP4; an odd row or column at the end is left out.

    The last frame is held for HELD_S: the tool refuses a film that is a frame short at its rate.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    with av.open(str(path), "w", format="mp4") as out:
        stream: Any = out.add_stream("libx264", rate=fps, options={"crf": "17", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        held = np.repeat(frames[-1:], count(HELD_S, fps), axis=0)
        for number, image in enumerate(chain(frames, held)):
            cut = np.ascontiguousarray(image[:height, :width])
            frame = av.VideoFrame.from_ndarray(cut, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
