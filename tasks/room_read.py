"""Reads a measured impulse response; imported by the sandbox alone."""

from typing import Any

import numpy as np
import soundfile
import soxr

from models.timeline import AUDIO48_HZ
from storage.rejects import Rejected
from tasks.container import first_bytes

RATES_HZ = (8_000, 768_000)
LONGEST_S = 60.0


def read_response(path: str, target: str) -> dict[str, Any]:
    """Writes the first channel at 48 kHz to `target` as raw float32; returns its samples.

    What comes after `LONGEST_S` is left out. Raises Rejected: `unreadable` where it cannot be
    opened, `not_media` for no sound file that libsndfile knows, `damaged` where it breaks off or
    holds what is no number, `unsupported` for another rate than `RATES_HZ` span.
    """
    first_bytes(path)
    try:
        stream = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        what = error.error_string
        raise Rejected("not_media", f"not a WAV or FLAC file ({what}); remove it") from None
    with stream:
        rate_hz = stream.samplerate
        if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
            raise Rejected("unsupported", f"has {rate_hz} Hz; give 8 kHz or more")
        longest = round(LONGEST_S * rate_hz)
        try:
            read = stream.read(longest, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise Rejected("damaged", f"{error.error_string}; get another copy") from None
        if len(read) < min(stream.frames, longest):
            raise Rejected("damaged", f"breaks off after {len(read)} samples; get another copy")
    first = np.ascontiguousarray(read[:, 0])
    if not np.isfinite(first).all():
        raise Rejected("damaged", "holds samples that are no numbers; get another copy")
    response = soxr.resample(first, rate_hz, AUDIO48_HZ) if rate_hz != AUDIO48_HZ else first
    response.astype(np.float32).tofile(target)
    return {"samples": len(response)}
