"""Speech quality by DNSMOS P.835: what listeners would say of voice, background and both.

The network and the polynomials that map its outputs to opinions are Microsoft's (Reddy et al. 2022,
"DNSMOS P.835", as released in the package `speechmos`, MIT). It hears exactly 9.01 s at 16 kHz: a
shorter sound is repeated until it fills that, a longer one is heard every second and averaged. The
authors' script doubles a short sound and hears up to nine turns of it: the same opinion within 0.1
for nine times the work.

Legend: T samples, N windows.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.onnx_session import open_onnx
from tasks.weights import locate

SAMPLE_RATE_HZ = 16_000
"""The only rate that the network knows."""
WINDOW_SAMPLES = 144_160
HOP_SAMPLES = SAMPLE_RATE_HZ

# Coefficients of x², x and 1, from the network's output to the mean opinion.
SIGNAL_FIT = (-0.08397278, 1.22083953, 0.0052439)
BACKGROUND_FIT = (-0.13166888, 1.60915514, -0.39604546)
OVERALL_FIT = (-0.06766283, 1.11546468, 0.04602535)


class Opinion(NamedTuple):
    """Mean opinion scores from 1 (bad) to 5 (excellent)."""

    overall: float
    signal: float
    background: float


@dataclass(frozen=True, slots=True)
class Dnsmos:
    """A loaded DNSMOS P.835: an ONNX Runtime session."""

    session: Any

    def opinion(self, audio: NDArray[np.float32]) -> Opinion:
        """The mean opinion over the windows of 16 kHz mono audio (T,), T > 0."""
        scores = [self._score(window) for window in windows_of(audio)]
        return Opinion(*(float(np.mean(of_one)) for of_one in zip(*scores, strict=True)))

    def _score(self, window: NDArray[np.float32]) -> Opinion:
        (output,) = self.session.run(None, {"input_1": window[None]})
        signal, background, overall = (float(value) for value in output[0])
        return Opinion(
            float(np.polyval(OVERALL_FIT, overall)),
            float(np.polyval(SIGNAL_FIT, signal)),
            float(np.polyval(BACKGROUND_FIT, background)),
        )


@functools.cache
def load_dnsmos() -> Dnsmos:
    """The network, loaded once per process; one thread, so scores do not depend on the machine."""
    return Dnsmos(open_onnx(locate("dnsmos")))


def windows_of(audio: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The windows (WINDOW_SAMPLES,) of audio (T,) that the network hears; ValueError for none."""
    if not len(audio):
        raise ValueError("there is no opinion of 0 samples")
    if len(audio) < WINDOW_SAMPLES:
        return [np.resize(audio, WINDOW_SAMPLES)]
    return [
        audio[start : start + WINDOW_SAMPLES]
        for start in range(0, len(audio) - WINDOW_SAMPLES + 1, HOP_SAMPLES)
    ]
