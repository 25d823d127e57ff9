"""Put speech into a room: read a response of the bank and convolve with it.

Audio is float32 in [-1, 1], shape (C, T): C channels, T samples. N is a response's length.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO48_HZ
from tasks.media import existing_blob

Audio = NDArray[np.float32]

BLOCK_TO_RESPONSE = 4
"""Length of a block's transform over that of the response: where overlap-add was quickest."""


@lru_cache(maxsize=64)
def load_response(workspace: str | Path, ref: str, rate_hz: int) -> Audio:
    """A room's response at a rate, float32 (N,), read-only: the direct sound is 1 at sample 0.

    The direct sound is left out of resampling, so it stays one sample of 1 at every rate.
    Raises FileNotFoundError where the blob is missing.
    """
    import soundfile
    import soxr

    stored, stored_hz = soundfile.read(str(existing_blob(workspace, ref)), dtype="float64")
    if stored_hz != AUDIO48_HZ:
        raise ValueError(f"{ref}: has {stored_hz} Hz; responses are stored at {AUDIO48_HZ} Hz")
    response = stored / stored[0]
    if rate_hz != AUDIO48_HZ:
        response[0] = 0.0
        # A response at fewer samples a second needs larger ones for the same sum.
        response = soxr.resample(response, AUDIO48_HZ, rate_hz) * (AUDIO48_HZ / rate_hz)
        response[0] = 1.0
    made = response.astype(np.float32)
    made.flags.writeable = False
    return made


def reverberant(audio: Audio, response: Audio) -> Audio:
    """Sound (C, T) as it is heard in a room, float32 (C, T): what rings on beyond T is cut.

    The direct sound is added as it is and nothing moves. The reverberation is convolved in blocks
    that overlap and add.
    """
    samples = audio.shape[1]
    heard: Audio = np.multiply(audio, response[0], dtype=np.float32)
    reverberation = np.array(response[:samples], np.float32)
    if not reverberation[1:].any():
        return heard
    reverberation[0] = 0.0
    return heard + _convolved(audio, reverberation)[:, :samples]


def _convolved(audio: Audio, response: Audio) -> Audio:
    from scipy.fft import irfft, next_fast_len, rfft

    channels, samples = audio.shape
    overlap = len(response) - 1
    longest = min(BLOCK_TO_RESPONSE * len(response), samples + overlap)
    size = next_fast_len(longest, real=True) or longest
    step = size - overlap
    blocks = -(-samples // step)
    padded = np.zeros((channels, blocks * step), np.float32)
    padded[:, :samples] = audio
    spectrum = np.asarray(rfft(padded.reshape(channels, blocks, step), size))
    spectrum *= np.asarray(rfft(response, size))
    parts: Audio = np.asarray(irfft(spectrum, size, overwrite_x=True))
    made = parts[..., :step]
    made[:, 1:, :overlap] += parts[:, :-1, step:]
    return made.reshape(channels, blocks * step)
