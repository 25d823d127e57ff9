"""Runs video2dataset over local clips: 10 fps, 224 x 224, and 48 kHz mono sound, one process.

Its release 1.3.0 cannot run these subsamplers as shipped, and is mended here from outside, in ways
that add no work:

- its worker asks subsamplers for `encode_formats`, which none of them has;
- a subsampler takes its stream out of the dictionary that the worker is looping over and puts it
  back, which Python refuses since 3.8, and every clip fails.

It writes frames as an h264 film, not as pictures; no option of it gives pictures at a rate.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import video2dataset.workers.download_worker as worker  # pyright: ignore[reportMissingImports]
from video2dataset import video2dataset  # pyright: ignore[reportMissingImports]

Streams = dict[str, Any]
CONFIG = {
    "subsampling": {
        "ResolutionSubsampler": {
            "args": {"width": 224, "height": 224, "resize_mode": "scale,crop"}
        },
        "FrameSubsampler": {"args": {"frame_rate": 10}},
        "AudioRateSubsampler": {
            "args": {"sample_rate": 48000, "encode_format": "wav", "n_audio_channels": 1}
        },
    },
    "reading": {
        "yt_args": {"download_size": 360, "download_audio_rate": 44100, "yt_metadata_args": None},
        "timeout": 60,
        "sampler": None,
    },
    "storage": {
        "number_sample_per_shard": 1000,
        "oom_shard_count": 5,
        "captions_are_subtitles": False,
    },
    "distribution": {
        "processes_count": 1,
        "thread_count": 1,
        "subjob_size": 1000,
        "distributor": "multiprocessing",
    },
}


def in_place(call: Callable[..., Any]) -> Callable[..., Any]:
    """A subsampler's call that leaves the order of the streams as it was."""

    def called(self: Any, streams: Streams, metadata: Any = None) -> Any:
        made, metadata, error = call(self, dict(streams), metadata)
        streams.update(made)
        return streams, metadata, error

    return called


# At the top of the module, since its worker's processes import this file anew.
worker.ResolutionSubsampler.encode_formats = {"video": "mp4"}
worker.FrameSubsampler.encode_formats = {"video": "mp4"}
worker.AudioRateSubsampler.encode_formats = {"audio": "wav"}
for subsampler in (worker.FrameSubsampler, worker.AudioRateSubsampler):
    subsampler.__call__ = in_place(subsampler.__call__)


def main() -> None:
    """Runs it on the clips named after the output folder."""
    out, *clips = sys.argv[1:]
    listed = Path(f"{out}.csv")
    listed.write_text("\n".join(["url", *clips]) + "\n", encoding="utf-8")
    video2dataset(
        url_list=str(listed),
        output_folder=out,
        output_format="files",
        encode_formats={"video": "mp4", "audio": "wav"},
        config=CONFIG,
    )


if __name__ == "__main__":
    main()
