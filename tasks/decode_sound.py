"""The sound side of the decode pass: mono FLAC at 48 and 16 kHz on the timeline, and loudness.

n is a number of samples. This module is imported by the sandbox alone.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from av import error
from av.audio.frame import format_dtypes
from av.filter import Graph

from models.timeline import AUDIO48_HZ, AUDIO_HZ, count
from tasks.media import to_pcm16

GAP_S = 0.04  # smaller jumps of timestamps are jitter: the samples follow each other
BLOCK_S = 0.5
GATED_LUFS = -70.0  # BS.1770-4's absolute gate: what lies below has no loudness
# Weights as libswresample's: centre and surrounds at -3 dB a side, no bass channel (BS.775).
DOWNMIX = {"FL": 1.0, "FR": 1.0, "FC": 2**0.5, "LFE": 0.0, "LFE2": 0.0}
SURROUND = 0.5**0.5


class Sound:
    """Takes the decoded frames of an audio stream in order and writes both files."""

    def __init__(self, folder: Path) -> None:
        """Opens both files in a folder."""
        self._outputs = (
            SoundOutput(folder / "audio48.flac", AUDIO48_HZ),
            SoundOutput(folder / "audio16.flac", AUDIO_HZ),
        )
        self._loudness = Loudness()
        self._rate_hz = 0
        self._placed = 0  # samples on the timeline so far, at the source's rate
        self._alike: tuple[str, str] = ("", "")  # sample format and layout of what follows
        self._weights = np.ones(1, np.float32)
        self._frames: list[list[np.ndarray]] = []  # their channels, not yet mixed down
        self._block: list[np.ndarray] = []
        self._waiting = 0  # samples in both

    def add(self, frame: av.AudioFrame, start_us: int) -> None:
        """Places the next frame at its time: silence fills gaps, an overlap is left out."""
        if not self._rate_hz:
            self._rate_hz = frame.sample_rate
            for output in self._outputs:
                output.begin(self._rate_hz)
        alike = (frame.format.name, frame.layout.name)
        if alike != self._alike:
            self._mix_down()
            self._alike, self._weights = alike, weights_of(frame)
        channels = channels_of(frame)
        if frame.sample_rate != self._rate_hz:
            mono = mono_of(channels, self._weights)
            channels = [soxr.resample(mono, frame.sample_rate, self._rate_hz)]
        jump = round(start_us * self._rate_hz / 1_000_000) - self._placed
        tolerated = GAP_S * self._rate_hz if self._placed else 0
        if jump > tolerated:
            self._silence(jump)
        elif jump < -tolerated:
            channels = [channel[-jump:] for channel in channels]
        if frame.sample_rate == self._rate_hz:
            self._frames.append(channels)
        else:
            self._mix_down()
            self._block.append(channels[0])
        self._count(len(channels[0]))

    def finish(self) -> int:
        """Ends both files; returns the sound's length in microseconds. At least one frame came."""
        length_us = round(self._placed * 1_000_000 / self._rate_hz)
        self._flush(length_us / 1e6)
        return length_us

    def loudness_lufs(self) -> float | None:
        """Integrated loudness of the 48 kHz mono sound; None where all of it is gated."""
        return self._loudness.integrated_lufs()

    def _silence(self, samples: int) -> None:
        self._mix_down()
        step = 60 * self._rate_hz
        for at in range(0, samples, step):
            self._block.append(np.zeros(min(step, samples - at), np.float32))
            self._count(len(self._block[-1]))

    def _count(self, samples: int) -> None:
        self._waiting += samples
        self._placed += samples
        if self._waiting >= BLOCK_S * self._rate_hz:
            self._flush(None)

    def _mix_down(self) -> None:
        """Mixes what waits at once: a frame of AAC alone is too short to be worth the calls."""
        if self._frames:
            channels = [np.concatenate(parts) for parts in zip(*self._frames, strict=True)]
            self._block.append(mono_of(channels, self._weights))
            self._frames = []

    def _flush(self, length_s: float | None) -> None:
        """Sends the block on; `length_s` is the whole length, where this block is the last."""
        self._mix_down()
        block = np.concatenate([*self._block, np.zeros(0, np.float32)])
        self._block, self._waiting = [], 0
        for output in self._outputs:
            pcm = output.write(block, length_s)
            if output.rate_hz == AUDIO48_HZ:
                self._loudness.add(pcm)


class SoundOutput:
    """One mono FLAC file, 16-bit, at a rate of its own."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        """Opens the file."""
        self.rate_hz = rate_hz
        self._written = 0
        self._resampler: Any = None
        self._file = soundfile.SoundFile(
            str(path), "w", rate_hz, 1, format="FLAC", subtype="PCM_16"
        )

    def begin(self, source_hz: int) -> None:
        """Sets the rate that samples come in."""
        if source_hz != self.rate_hz:
            self._resampler = soxr.ResampleStream(source_hz, self.rate_hz, 1, "float32", "HQ")

    def write(self, mono: np.ndarray, length_s: float | None) -> np.ndarray:
        """Writes samples float32 (n,) and returns them as written, int16 (m,).

        With `length_s` this is the end, and the file gets count(length_s, rate_hz) samples.
        """
        last = length_s is not None
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=last)
        if length_s is not None:
            missing = count(length_s, self.rate_hz) - self._written - len(mono)
            mono = np.pad(mono, (0, missing)) if missing > 0 else mono[: len(mono) + missing]
        pcm = to_pcm16(mono)
        self._file.write(pcm)
        self._written += len(pcm)
        if last:
            self._file.close()
        return pcm


class Loudness:
    """Integrated loudness by ITU-R BS.1770-4, as libav's ebur128 filter measures it."""

    def __init__(self) -> None:
        """Builds the filter for 48 kHz mono."""
        self._graph = Graph()
        self._base = Fraction(1, AUDIO48_HZ)
        source = self._graph.add_abuffer(
            sample_rate=AUDIO48_HZ, format="s16", layout="mono", time_base=self._base
        )
        meter = self._graph.add("ebur128", "metadata=1:framelog=quiet")
        self._graph.link_nodes(source, meter, self._graph.add("abuffersink")).configure()
        self._samples = 0
        self._lufs: float | None = None

    def add(self, pcm: np.ndarray) -> None:
        """Takes samples, int16 (n,)."""
        if not len(pcm):
            return
        frame = av.AudioFrame.from_ndarray(pcm[np.newaxis], "s16", "mono")
        frame.sample_rate, frame.time_base, frame.pts = AUDIO48_HZ, self._base, self._samples
        self._samples += len(pcm)
        self._graph.push(frame)
        while True:
            try:
                measured = self._graph.pull().metadata.get("lavfi.r128.I")
            except (error.BlockingIOError, error.EOFError):
                return
            if measured is not None:
                self._lufs = float(measured)

    def integrated_lufs(self) -> float | None:
        """The loudness of all samples so far, or None where all are below the absolute gate."""
        return self._lufs if self._lufs is not None and self._lufs > GATED_LUFS else None


def channels_of(frame: av.AudioFrame) -> list[np.ndarray]:
    """The samples of each channel as they are stored, views of (n,) each."""
    kind = np.dtype(format_dtypes[frame.format.name])
    planes: list[Any] = list(frame.planes)
    if frame.format.is_planar:
        return [np.frombuffer(plane, kind)[: frame.samples] for plane in planes]
    channels = frame.layout.nb_channels
    packed = np.frombuffer(planes[0], kind)[: frame.samples * channels]
    return list(packed.reshape(-1, channels).T)


def weights_of(frame: av.AudioFrame) -> np.ndarray:
    """What each channel of such a frame gives to the mono mix, float32 (channels,), sum 1."""
    names = [channel.name for channel in frame.layout.channels]
    weights = np.array([DOWNMIX.get(name, SURROUND) for name in names], np.float32)
    if not weights.any():
        weights[:] = 1.0
    return weights / weights.sum()


def mono_of(audio: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Stored channels, (n,) each, mixed down to float32 (n,) in [-1, 1]; a NaN is silence."""
    kind = audio[0].dtype
    unit = 1.0 if kind.kind == "f" else 1.0 / (1 << (8 * kind.itemsize - 1))
    mono = np.zeros(len(audio[0]), np.float32)
    # Channel by channel and not as a matrix product, whose rounding depends on where arrays lie.
    for channel, weight in zip(audio, weights, strict=True):
        mono += np.multiply(channel, np.float32(weight * unit), dtype=np.float32)
    if kind == np.uint8:
        mono -= np.float32(128 * unit)
    if not np.isfinite(mono).all():
        mono = np.nan_to_num(mono, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(mono, -1.0, 1.0)
