"""Fingerprint a source: what it looks and sounds like, so that near-duplicates are found.

Both fingerprints stand a change of codec, bit rate, size and level, and hold for a part of a source
at any offset. They are made of what was decoded, and little of that is needed: the gray pictures,
which are those at 10 fps in gray, every 0.4 s, or those at 10 fps themselves where there are no
others, and the 16 kHz sound between 250 and 2500 Hz.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from models.timeline import AUDIO_HZ, MOTION_FPS, VISUAL_FPS
from storage.blobs import Blobs
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items

NOTHING = -1
"""The value of a moment that tells nothing: a flat picture, silence, a steady tone."""

PICTURE_EVERY = 10
PICTURE_STEP_S = PICTURE_EVERY / MOTION_FPS
PICTURE_BITS = 63
SIDE = 28
FREQUENCIES = 8

SOUND_DOWN = 3
SOUND_HOP = 320
SOUND_STEP_S = SOUND_HOP * SOUND_DOWN / AUDIO_HZ
SOUND_WINDOW = 2048
SOUND_BITS = 24
SOUND_LAG = 4
SOUND_BAND_HZ = (250.0, 2500.0)
TAPS = 25
BLOCK_FRAMES = 1000
BATCH_FRAMES = 50  # what a core's cache holds


@dataclass(frozen=True, slots=True)
class FingerprintConfig:
    """What counts as nothing to see or to hear.

    Attributes:
        min_contrast: a spatial frequency of the picture below this, in gray levels, is not there.
        min_frequencies: a picture in which fewer of 63 frequencies are there is flat.
        min_level_db: sound between 250 and 2500 Hz below this is silence, in dBFS.
        min_change: sound whose spectrum changes by less than this share in 0.24 s is steady.
    """

    min_contrast: Annotated[float, Field(ge=0)] = 0.15
    min_frequencies: Annotated[int, Field(ge=0, le=PICTURE_BITS)] = 12
    min_level_db: Annotated[float, Field(ge=-120, le=0)] = -65.0
    min_change: Annotated[float, Field(ge=0, le=1)] = 0.01


# -- picture -----------------------------------------------------------------------------------


def picture_hashes(pictures: NDArray[np.float32], config: FingerprintConfig) -> NDArray[np.int64]:
    """The hash of each picture: the signs of its 63 lowest spatial frequencies but the mean.

    Bits stand in zigzag order, the lowest frequency in bit 0 (the DCT hash of Zauner, 2010, with
    fixed thresholds in place of the median, so that what is not there gives no random bit).

    Args:
        pictures: gray levels, 0 to 255 (P, 28, 28).
        config: which pictures are flat; their hash is NOTHING.
    """
    basis, order = _cosines(), _zigzag()
    amplitudes = (basis @ pictures @ basis.T).reshape(len(pictures), -1)[:, order] / SIDE
    powers = np.int64(1) << np.arange(PICTURE_BITS, dtype=np.int64)
    hashes = (amplitudes > config.min_contrast) @ powers
    is_flat = (np.abs(amplitudes) > config.min_contrast).sum(axis=1) < config.min_frequencies
    return np.where(is_flat, NOTHING, hashes)


@cache
def _cosines() -> NDArray[np.float32]:
    """The orthonormal DCT-II of the lowest frequencies, (8, 28)."""
    place = np.pi * (np.arange(SIDE) + 0.5) / SIDE
    basis = np.sqrt(2 / SIDE) * np.cos(np.arange(FREQUENCIES)[:, None] * place)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


@cache
def _zigzag() -> list[int]:
    places = [(i + j, i, j) for i in range(FREQUENCIES) for j in range(FREQUENCIES) if i + j]
    return [i * FREQUENCIES + j for _, i, j in sorted(places)]


def read_pictures(path: Path, fps: int = MOTION_FPS) -> NDArray[np.float32]:
    """The pictures of a grid every 0.4 s at 28 x 28, gray levels (P, 28, 28)."""
    import cv2

    pictures = []
    for jpeg in _every(PICTURE_EVERY * fps // MOTION_FPS, path):
        # A quarter of 112 comes out of the JPEG's own frequencies without decoding the rest.
        flag = cv2.IMREAD_REDUCED_GRAYSCALE_4
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flag)
        if picture is None:
            raise ValueError(f"{path}: a frame of {len(jpeg)} bytes is not a JPEG picture")
        if picture.shape != (SIDE, SIDE):
            picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        pictures.append(picture)
    return np.asarray(pictures, np.float32).reshape(-1, SIDE, SIDE)


def _every(step: int, path: Path) -> Iterator[Any]:
    first = 0
    with pq.ParquetFile(path) as parquet:
        for group in range(parquet.num_row_groups):
            jpegs = parquet.read_row_group(group, columns=["jpeg"], use_threads=False)["jpeg"]
            for row in range(-first % step, len(jpegs), step):
                yield jpegs[row].as_buffer()
            first += len(jpegs)


# -- sound -------------------------------------------------------------------------------------


def sound_bits(energies: NDArray[np.float32], config: FingerprintConfig) -> NDArray[np.int32]:
    """24 bits a frame: whether the step from each band to the next grew (Haitsma, Kalker, 2002).

    Growth is over four frames, not one: frames overlap so much that one step is mostly noise.

    Args:
        energies: mean square of each band (F, 25), full scale 1, one row every 60 ms.
        config: which frames are silent or steady; their value is NOTHING.

    Returns:
        One value for each frame but the first four, (F - 4,).
    """
    if len(energies) <= SOUND_LAG:
        return np.empty(0, np.int32)
    now, before = energies[SOUND_LAG:], energies[:-SOUND_LAG]
    growth = np.diff(now, axis=1) - np.diff(before, axis=1)
    values = (growth < 0) @ (1 << np.arange(SOUND_BITS, dtype=np.int32))
    level, total = now.sum(axis=1), now.sum(axis=1) + before.sum(axis=1)
    tells = level > 10 ** (config.min_level_db / 10)
    tells &= np.abs(growth).sum(axis=1) > config.min_change * total
    return np.where(tells, values, NOTHING).astype(np.int32)


def band_energies(path: Path) -> NDArray[np.float32]:
    """Mean square of 25 bands from 250 to 2500 Hz (F, 25), every 60 ms over 0.384 s.

    The sound is read in blocks, so that its length does not matter.
    """
    import soundfile

    window_samples, hop_samples = SOUND_WINDOW * SOUND_DOWN, SOUND_HOP * SOUND_DOWN
    blocks = []
    with soundfile.SoundFile(str(path)) as stream:
        frames = max(0, (stream.frames - window_samples) // hop_samples + 1)
        for first in range(0, frames, BLOCK_FRAMES):
            count = min(BLOCK_FRAMES, frames - first)
            start = first * hop_samples
            length = (count - 1) * hop_samples + window_samples
            blocks.append(_block(_read_around(stream, start, length, TAPS // 2)))
    return np.concatenate(blocks) if blocks else np.empty((0, SOUND_BITS + 1), np.float32)


def _read_around(stream: Any, start: int, length: int, margin: int) -> NDArray[np.float32]:
    """Samples from `margin` before a span to `margin` after it; silence beyond the sound."""
    begin, end = max(0, start - margin), min(stream.frames, start + length + margin)
    stream.seek(begin)
    audio = stream.read(end - begin, dtype="int16").astype(np.float32) / 32_768
    return np.pad(audio, (begin - (start - margin), start + length + margin - end))


def _block(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    import scipy.fft
    from scipy.signal import upfirdn

    low = upfirdn(_low_pass(), audio, down=SOUND_DOWN)[TAPS // SOUND_DOWN :]
    frames = (len(audio) - TAPS + 1 - SOUND_WINDOW * SOUND_DOWN) // (SOUND_HOP * SOUND_DOWN) + 1
    views = np.lib.stride_tricks.sliding_window_view(low, SOUND_WINDOW)[::SOUND_HOP][:frames]
    window, edges = _window(), _edges()
    energies = np.empty((frames, SOUND_BITS + 1), np.float32)
    for first in range(0, frames, BATCH_FRAMES):
        batch = views[first : first + BATCH_FRAMES] * window
        spectra: Any = scipy.fft.rfft(batch, axis=1)
        heard = spectra[:, edges[0] : edges[-1]]
        power = heard.real**2 + heard.imag**2
        np.add.reduceat(power, edges[:-1] - edges[0], axis=1, out=energies[first:][: len(power)])
    return energies


@cache
def _low_pass() -> NDArray[np.float32]:
    from scipy.signal import firwin

    return np.asarray(firwin(TAPS, 1 / SOUND_DOWN), np.float32)


@cache
def _window() -> NDArray[np.float32]:
    """A Hann window, scaled so that the squares of a spectrum's half add up to a mean square."""
    window = np.hanning(SOUND_WINDOW)
    return (window * np.sqrt(2 / (SOUND_WINDOW * (window**2).sum()))).astype(np.float32)


@cache
def _edges() -> NDArray[np.int64]:
    low_hz, high_hz = SOUND_BAND_HZ
    hz = low_hz * (high_hz / low_hz) ** (np.arange(SOUND_BITS + 2) / (SOUND_BITS + 1))
    return np.rint(hz * SOUND_WINDOW * SOUND_DOWN / AUDIO_HZ).astype(np.int64)


# -- the stage ---------------------------------------------------------------------------------


def fingerprint_shard(shard: ShardRef, out: ShardTarget, config: FingerprintConfig) -> ShardResult:
    """Fingerprints the sources of a shard."""
    blobs = Blobs(out.workspace)

    def fingerprint(item: dict[str, Any]) -> Rows:
        picture, sound = np.empty(0, np.int64), np.empty(0, np.int32)
        if item["frames25_ref"]:
            picture = picture_hashes(read_pictures(blobs.path(item["frames25_ref"])), config)
        elif item["frames10_ref"]:
            seen = read_pictures(blobs.path(item["frames10_ref"]), VISUAL_FPS)
            picture = picture_hashes(seen, config)
        if item["audio16_ref"]:
            sound = sound_bits(band_energies(blobs.path(item["audio16_ref"])), config)
        row = {
            "source_id": item["item_id"],
            "picture": picture.tolist(),
            "sound": sound.tolist(),
            "content_hash": hashlib.sha256(picture.tobytes() + b"|" + sound.tobytes()).hexdigest(),
        }
        return {"fingerprints": [row]}

    return run_items(shard, out, fingerprint)


STAGE = Stage(
    name="fingerprint",
    title="fingerprint sources",
    version=1,
    config=FingerprintConfig,
    items="""
        SELECT source_id AS item_id, frames25_ref, audio16_ref, duration_s AS cost_s,
               CASE WHEN frames25_ref IS NULL THEN frames10_ref END AS frames10_ref
        FROM decodes
    """,
    outputs=(Output("fingerprints", key="source_id"),),
    run=fingerprint_shard,
    later_columns=("frames10_ref",),
    shard_s=36_000.0,
)
