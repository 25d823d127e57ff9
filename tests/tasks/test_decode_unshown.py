"""What no frame shows is not decoded, and what is shown is the same to the bit."""

from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tasks.decode import DecodeConfig
from tasks.decode_pass import decode_source
from tasks.decode_unshown import HELD_BYTES, PACKETS_AHEAD, Unshown
from tests.made_media import Track, even_times, sine, write_media

DRAWN = np.random.default_rng(0)
UNEVEN = [0.0, *np.cumsum(DRAWN.choice([0.011, 0.04, 0.15, 0.42], 40)).round(3).tolist()]
PYRAMID = {"preset": "veryfast", "bf": "6", "g": "20", "x264-params": "b-pyramid=normal:open-gop=1"}


def decoded(path: Path, **config: Any) -> tuple[bytes, dict[str, Any]]:
    """The file of 10 fps frames, and what the pass measured."""
    folder = path.parent / "out"
    folder.mkdir(exist_ok=True)
    value = decode_source(str(path), str(folder), asdict(DecodeConfig(max_faces=0, **config)))
    return (folder / "frames10.parquet").read_bytes(), value


@pytest.mark.parametrize(
    ("name", "times_s", "options", "leaves_out"),
    [
        ("a.mp4", even_times(60, 2), None, True),
        ("a.mkv", [round(t, 3) for t in even_times(24, 3)], PYRAMID, True),
        ("a.ts", even_times(30, 2), PYRAMID, True),
        ("a.mov", [t + 0.37 for t in even_times(50, 2)], {"bf": "16", "b_strategy": "0"}, True),
        ("a.mp4", UNEVEN, PYRAMID, True),
        ("a.mp4", even_times(60, 1), {"bf": "0"}, False),
        ("a.avi", even_times(25, 2), None, False),
    ],
    ids=["60", "24", "30-ts", "late-16", "vfr", "all-referred-to", "avi"],
)
def test_frames_are_the_same_where_pictures_between_them_are_left_out(
    tmp_path: Path,
    name: str,
    times_s: list[float],
    options: dict[str, str] | None,
    leaves_out: bool,
) -> None:
    track = Track(sine(1, 16_000), 16_000, codec="pcm_s16le" if name == "a.avi" else "aac")
    path = write_media(tmp_path / name, times_s, track=track, options=options)
    whole, plain = decoded(path), decoded(path, motion=False)
    assert plain[0] == whole[0]
    same = ("duration_s", "audio_s", "frames10_count", "loudness_lufs", "bad_frames")
    assert [plain[1][key] for key in same] == [whole[1][key] for key in same]
    share = plain[1]["facts"]["decoded_frames"]["video"] / len(times_s)
    assert (share < 1) == leaves_out


def packets(number: int, of_stream: int, size: int) -> Iterator[Any]:
    stream = SimpleNamespace(index=of_stream)
    for pts in range(number):
        yield SimpleNamespace(
            stream=stream, pts=pts, time_base=Fraction(1, 60), size=size, is_discard=False
        )


@pytest.mark.parametrize(("of_stream", "size"), [(1, 1_000), (0, HELD_BYTES // 10), (1, 0)])
def test_little_is_held_however_few_or_large_the_pictures_are(of_stream: int, size: int) -> None:
    context = SimpleNamespace(skip_frame="")
    unshown = Unshown(SimpleNamespace(index=0, codec_context=context), 10)
    held = most = 0

    def counted() -> Iterator[Any]:
        nonlocal held, most
        for packet in packets(100_000 if size < 2_000 else 40, of_stream, size):
            held += 1
            most = max(most, held)
            yield packet

    for _ in unshown.told(counted()):
        held -= 1
    assert held == 0
    assert most * max(size, 1_000) <= HELD_BYTES + 2 * size
    assert of_stream == 1 or most <= PACKETS_AHEAD + 1
