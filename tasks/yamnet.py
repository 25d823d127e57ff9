"""Sound tags by YAMNet: 521 AudioSet classes, with NumPy features and ONNX Runtime.

Features after Google's `yamnet/features.py` (AudioSet): Hann 400, hop 160, FFT 512 magnitudes, 64
HTK mel bands from 125 to 7500 Hz, ln(x + 0.001), patches of 96 frames every 48 frames. The network
is the 8-bit export inside the package `sead`: uint8 in, uint8 out, with the scales below. It gives
class scores only, no embedding.

Legend: T samples, F feature frames, M = 64 mel bands, P patches, C = 521 classes.
"""

import csv
import functools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.onnx_session import open_onnx
from tasks.weights import locate

SAMPLE_RATE_HZ = 16_000
"""The only rate that the network knows."""
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SAMPLES = 512
MEL_BANDS = 64
MEL_LOW_HZ = 125.0
MEL_HIGH_HZ = 7500.0
LOG_OFFSET = 0.001
PATCH_FRAMES = 96
PATCH_HOP_FRAMES = 48
PATCH_S = PATCH_FRAMES * HOP_SAMPLES / SAMPLE_RATE_HZ
PATCH_HOP_S = PATCH_HOP_FRAMES * HOP_SAMPLES / SAMPLE_RATE_HZ

INPUT_SCALE = 0.0479379
INPUT_ZERO = 144.0
LOGIT_SCALE = 0.7565417
LOGIT_ZERO = 190.0

SPEECH_CLASSES = (
    "Speech",
    "Child speech, kid speaking",
    "Conversation",
    "Narration, monologue",
    "Speech synthesizer",
    "Shout",
    "Yell",
    "Children shouting",
    "Whispering",
)
"""Classes whose sound carries words; laughter, screams, crowds and song are voices without them."""

MUSIC_RANGES = (("Singing", "Humming"), ("Music", "Scary music"))
"""First and last class, in AudioSet's order, of song and of music with its instruments."""
BELLS = ("Bell", "Wind chime")
"""Inside the instruments, but heard in the world: doors, bicycles, churches."""
NEITHER_RANGES = (("Silence", "Silence"), ("Inside, small room", "Field recording"))
"""Classes of the place and of the recording itself, which are there beside any sound."""


@dataclass(frozen=True, slots=True)
class Yamnet:
    """A loaded YAMNet: an ONNX Runtime session and the names of its classes."""

    session: Any
    class_names: tuple[str, ...]

    def scores(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class scores float32 (P, C) in 0..1 of every patch of 16 kHz mono audio (T,)."""
        return _score_of_byte()[self._heard(audio)]

    def logits(self, audio: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits (P, C) of the same scores, in steps of 0.76: the network's own output."""
        return logits_of(self._heard(audio))

    def _heard(self, audio: NDArray[np.float32]) -> NDArray[np.uint8]:
        """What the network says of every patch (P, C), as it says it."""
        patches = patches_of(log_mel(padded_to_patches(audio)))
        return np.stack([self._hear_patch(patch) for patch in patches])

    def _hear_patch(self, patch: NDArray[np.float32]) -> NDArray[np.uint8]:
        quantised = np.clip(np.round(patch / INPUT_SCALE + INPUT_ZERO), 0, 255).astype(np.uint8)
        (output,) = self.session.run(None, {"audio": quantised[None, None]})
        return output[0]


@functools.cache
def load_yamnet() -> Yamnet:
    """The network, loaded once per process; one thread, so scores do not depend on the machine."""
    class_names = read_class_names(locate("yamnet_classes"))
    # The graph keeps its weights in a second file: both must lie on disk while the session opens.
    with TemporaryDirectory(prefix="yamnet-") as folder:
        with zipfile.ZipFile(locate("yamnet")) as archive:
            archive.extractall(folder)
        (graph,) = Path(folder).rglob("*.onnx")
        session = open_onnx(graph)
    return Yamnet(session, class_names)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Names of the classes in the order of the network's outputs, from AudioSet's map (CSV)."""
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(row["display_name"] for row in csv.DictReader(file))


def music_columns(class_names: tuple[str, ...]) -> NDArray[np.intp]:
    """Which columns of the scores are music: song, instruments and styles, without bells."""
    return np.flatnonzero(_within(class_names, *MUSIC_RANGES) & ~_within(class_names, BELLS))


def sound_columns(class_names: tuple[str, ...]) -> NDArray[np.intp]:
    """Which columns of the scores are sounds of things, animals and voices without words."""
    others = np.isin(class_names, SPEECH_CLASSES) | _within(class_names, *NEITHER_RANGES)
    others[music_columns(class_names)] = True
    return np.flatnonzero(~others)


def _within(class_names: tuple[str, ...], *ranges: tuple[str, str]) -> NDArray[np.bool_]:
    """Which classes (C,) lie in one of the ranges, their ends included."""
    inside = np.zeros(len(class_names), dtype=bool)
    for first, last in ranges:
        inside[class_names.index(first) : class_names.index(last) + 1] = True
    return inside


def padded_to_patches(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Audio (T,) with zeros up to the end of its last patch; one patch (15,600) at least."""
    first = (PATCH_FRAMES - 1) * HOP_SAMPLES + WINDOW_SAMPLES
    hop = PATCH_HOP_FRAMES * HOP_SAMPLES
    missing_hops = max(0, -(-(len(audio) - first) // hop))
    return np.pad(audio, (0, first + missing_hops * hop - len(audio)))


def log_mel(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mel features (F, M) of audio (T,), unpadded: F = 1 + (T − 400) // 160."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, WINDOW_SAMPLES)[::HOP_SAMPLES]
    magnitudes = np.abs(np.fft.rfft(frames * _hann(), n=FFT_SAMPLES, axis=1))  # (F, 257)
    return np.log(magnitudes @ mel_matrix() + LOG_OFFSET).astype(np.float32)


def patches_of(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Patches (P, 96, M), one every 48 frames, of features (F, M)."""
    windows = np.lib.stride_tricks.sliding_window_view(features, PATCH_FRAMES, axis=0)
    return windows[::PATCH_HOP_FRAMES].transpose(0, 2, 1)


@functools.cache
def mel_matrix() -> NDArray[np.float64]:
    """Weights (257, M) from FFT magnitudes to mel bands: HTK scale, peak 1, without the DC bin.

    This is TensorFlow's `linear_to_mel_weight_matrix`, on which YAMNet was trained: its triangles
    are straight in mel, those of librosa in Hz.
    """
    bins_hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT_SAMPLES // 2 + 1)
    edges = np.linspace(_mel(np.array(MEL_LOW_HZ)), _mel(np.array(MEL_HIGH_HZ)), MEL_BANDS + 2)
    bins = _mel(bins_hz)[:, None]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    weights = np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre))
    weights = np.maximum(weights, 0.0)
    weights[0] = 0.0
    return weights


def _mel(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(frequency_hz / 700.0)


@functools.cache
def _hann() -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)


@functools.cache
def _score_of_byte() -> NDArray[np.float32]:
    """Probability float32 (256,) of every output byte."""
    return scores_of(logits_of(np.arange(256)))


def logits_of(output: NDArray[np.integer]) -> NDArray[np.float64]:
    """The logits that the network's output bytes stand for."""
    return (np.asarray(output, np.float64) - LOGIT_ZERO) * LOGIT_SCALE


def scores_of(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """The probabilities of logits: their logistic function."""
    return (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
