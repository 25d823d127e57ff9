"""Reads the sound of a file in whose voice shall be spoken; imported by the sandbox alone."""

from typing import Any

import numpy as np
import soxr
from av.error import FFmpegError

from models.timeline import AUDIO_HZ
from storage.rejects import Rejected
from tasks.container import choose_streams, demuxed, open_media
from tasks.decode_sound import channels_of, mono_of, weights_of


def read_voice(path: str, target: str, longest_s: float) -> dict[str, Any]:
    """Writes the sound, mono at 16 kHz, to `target` as raw float32; returns its samples.

    What comes after `longest_s` is left out. Raises Rejected: what opening says, `no_streams`
    without sound, `damaged` where it does not decode, `unsupported` where its rate changes.
    """
    parts: list[np.ndarray] = []
    rate_hz = samples = 0
    with open_media(path) as container:
        _, stream = choose_streams(container)
        if stream is None:
            raise Rejected("no_streams", "it holds no sound; name a recording of a voice")
        try:
            for packet in demuxed(container, [stream]):
                for frame in packet.decode():
                    rate_hz = rate_hz or frame.sample_rate
                    if frame.sample_rate != rate_hz:
                        raise Rejected("unsupported", "its sample rate changes; convert the file")
                    parts.append(mono_of(channels_of(frame), weights_of(frame)))
                    samples += len(parts[-1])
                if rate_hz and samples >= longest_s * rate_hz:
                    break
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            raise Rejected("damaged", f"{error.strerror}; get another copy") from None
    if not samples:
        raise Rejected("damaged", "no sound decodes in it; get another copy")
    audio = np.concatenate(parts)[: round(longest_s * rate_hz)]
    if rate_hz != AUDIO_HZ:
        audio = soxr.resample(audio, rate_hz, AUDIO_HZ)
    audio.astype(np.float32).tofile(target)
    return {"samples": len(audio)}
