"""Measure an impulse response: reverberation time, direct to reverberant energy, direct sound.

T is the number of samples.
"""

import math

import numpy as np
from numpy.typing import NDArray

from models.timeline import count
from storage.rejects import Rejected

Response = NDArray[np.float64]

DIRECT_S = 0.0025
"""What arrives this long after the direct sound still counts as direct."""
MIDDLE_HZ = (1000 / 2**1.5, 1000 * 2**0.5)
"""The octaves of 500 Hz and 1 kHz, on which ISO 3382-1 rates a room's reverberation."""
TOP_DB, BOTTOM_DB = -5.0, -25.0
STRAIGHT = 0.9
"""Least share of a decay's variance that its line explains; a room's is 0.97 and more."""
BLOCK_S = 0.01
RISE_S = 0.001


def t60_s(response: Response, rate_hz: int) -> float | None:
    """The reverberation time of a response (T,) whose direct sound is at sample 0.

    T20 of ISO 3382-1: Schroeder's backward integral of what follows the direct sound, in the
    octaves of 500 Hz and 1 kHz, a line through it from -5 to -25 dB, read at -60 dB. None where
    nothing follows, or what follows does not fall along a line, as noise and speech do not.
    """
    from scipy.signal import butter, sosfilt

    sections = butter(2, MIDDLE_HZ, "bandpass", fs=rate_hz, output="sos")
    reverberation = response[count(DIRECT_S, rate_hz) :]
    if not reverberation.any():
        return None
    # Filtered backwards in time, the filter's own ringing comes before a sound and not after it.
    middle = np.asarray(sosfilt(sections, reverberation[::-1]))
    energy = np.cumsum(middle**2)[::-1]
    levels_db = 10 * np.log10(np.maximum(energy / energy[0], 1e-30))
    used = np.flatnonzero((levels_db <= TOP_DB) & (levels_db >= BOTTOM_DB))
    if len(used) < 3 or np.corrcoef(used, levels_db[used])[0, 1] ** 2 < STRAIGHT:
        return None
    slope, _ = np.polyfit(used / rate_hz, levels_db[used], 1)
    return float(-60.0 / slope)


def drr_db(response: Response, rate_hz: int) -> float:
    """Energy of the direct sound over that of all later than 2.5 ms after it, in dB."""
    split = count(DIRECT_S, rate_hz)
    later = float(np.sum(response[split:] ** 2))
    direct = float(np.sum(response[:split] ** 2))
    return 10 * math.log10(direct / later) if later > 0 else math.inf


def from_direct(response: Response, rate_hz: int) -> Response:
    """The response (T,) from its direct sound on, which is made 1 at sample 0.

    The direct sound is the first peak of at least half the largest magnitude. What comes before it
    is cut: the flight through the room, and less than a millisecond of the loudspeaker's own rise.
    No fade is needed there, because the response begins with its largest step, the direct sound.
    Raises Rejected("no_response") for silence.
    """
    magnitude = np.abs(response)
    if not len(magnitude) or not magnitude.max() > 0:
        raise Rejected("no_response", "it is silent; give an impulse response")
    first = int(np.argmax(magnitude >= magnitude.max() / 2))
    peak = first + int(np.argmax(magnitude[first : first + count(RISE_S, rate_hz)]))
    return response[peak:] / response[peak]


def until_noise(response: Response, rate_hz: int) -> Response:
    """The response (T,) up to where it sinks into the noise it was recorded in, faded out there.

    The noise is the mean of the last tenth; the end is the last 10 ms that are 6 dB above it.
    Raises Rejected("no_response") where less than 20 ms are.
    """
    block = count(BLOCK_S, rate_hz)
    blocks = len(response) // block
    power = np.mean(response[: blocks * block].reshape(blocks, block) ** 2, axis=1)
    noise = float(np.mean(power[-max(1, blocks // 10) :])) if blocks else 0.0
    end = (int(np.flatnonzero(power > 4 * noise).max(initial=0)) + 1) * block
    if end < 2 * block:
        raise Rejected("no_response", "nothing in it rings out of its noise")
    kept = response[:end].copy()
    kept[-block:] *= np.cos(np.linspace(0, math.pi / 2, block))
    return kept
