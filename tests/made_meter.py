"""Meters that share nothing with ours: libav's ebur128, and energies by Parseval's theorem."""

import math
from fractions import Fraction

import av
import numpy as np
from av.error import BlockingIOError, EOFError
from av.filter import Graph


def ebur128(audio: np.ndarray, rate_hz: int) -> tuple[float, float]:
    """Integrated loudness in LUFS and true peak in dBTP of sound (1, T) by libav's meter."""
    graph = Graph()
    source = graph.add_abuffer(
        format="flt", sample_rate=rate_hz, layout="mono", time_base=Fraction(1, rate_hz)
    )
    meter = graph.add("ebur128", "peak=true:metadata=1:framelog=quiet")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate_hz, 0
    graph.push(frame)
    graph.push(None)
    told: dict[str, float] = {}
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            break
        assert isinstance(frame, av.AudioFrame)
        # A last frame shorter than 100 ms has no measures.
        told |= {key: float(value) for key, value in frame.metadata.items()}
    return told["lavfi.r128.I"], 20 * math.log10(told["lavfi.r128.true_peaks_ch0"])


def band_energy(audio: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> float:
    """The energy of sound (T,) between two frequencies, from its spectrum."""
    lines = np.abs(np.fft.rfft(audio.astype(np.float64))) ** 2
    hz = np.arange(len(lines)) * rate_hz / len(audio)
    return float(2 * lines[(hz >= low_hz) & (hz < high_hz)].sum() / len(audio))
