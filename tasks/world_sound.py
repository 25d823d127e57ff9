"""What the staged world sounds like: bodies ring in modes, each from the sample it is struck at.

Pitch comes from size, decay from material, level from the speed of the contact, and from nothing
else. Legend: T samples at 48 kHz.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO48_HZ, count
from tasks.world_content import MATERIALS, PITCH_HZ_M, Material
from tasks.world_motion import Body, Event

Sound = NDArray[np.float32]

LOUDEST_MPS = 6.0
LOUDEST_DBFS = -9.0
"""Peak of a contact at LOUDEST_MPS; half the speed is 6 dB less."""
SOFTER_DB = {"roll": -13.0, "rain": -16.0, "shard": -4.0, "step": 4.0}
"""Kinds whose speeds are not those of a fall."""
KNOCK_S = 0.004
DAMPED = 0.35
"""Share of its time that a shard on the floor or a shoe with a foot in it rings."""
LONGEST_S = 2.5
FLOOR_DBFS = -66.0
"""RMS of the noise of every recording: no clip is empty of sound."""
BLOCK = 256


def pitch_hz(body: Body, scale: float = 1.0) -> float:
    """The lowest mode of a body, or of what is so many times its size."""
    return PITCH_HZ_M / (body.radius_m * scale)


def ring_s(material: Material, kind: str) -> float:
    """The time in which the lowest mode of a contact of a kind falls by 60 dB."""
    return material.t60_s * (DAMPED if kind in ("shard", "step") else 1.0)


def level_dbfs(event: Event) -> float:
    """The peak level of an event, or of the loudest contact in it."""
    speed = max(event.speed_mps, 0.05)
    return LOUDEST_DBFS + 20 * math.log10(speed / LOUDEST_MPS) + SOFTER_DB.get(event.kind, 0.0)


def render(
    events: Sequence[Event],
    bodies: Sequence[Body],
    seconds: float,
    generator: np.random.Generator,
) -> Sound:
    """The sound (T,) of some events, without the noise of the recording.

    Args:
        events: with times from the clip's start.
        bodies: by their numbers.
        seconds: the clip's length.
        generator: for the noise of contacts.
    """
    length = count(seconds, AUDIO48_HZ)
    track = np.zeros(length, np.float32)
    for event in events:
        if not event.is_heard:
            continue
        body = bodies[event.body]
        peak = 10 ** (level_dbfs(event) / 20)
        if event.kind in ("roll", "rain"):
            _add_span(track, event, body, peak, generator)
            continue
        start = math.ceil(event.start_s * AUDIO48_HZ - 1e-9)
        _add(track, start, np.float32(peak) * struck(body, event, generator))
    return track


def struck(body: Body, event: Event, generator: np.random.Generator) -> Sound:
    """The sound (T,) of a body that is struck, from its first sample on, with a peak of 1."""
    material = body.made_of
    pitch = pitch_hz(body, event.scale)
    sound = _modes(material, pitch, ring_s(material, event.kind), generator)
    knock = count(KNOCK_S, AUDIO48_HZ)
    noise = generator.standard_normal(knock).astype(np.float32)
    noise *= np.exp(-np.arange(knock, dtype=np.float32) * (6.0 / knock))
    sound[:knock] += (0.5 * material.knock) * noise
    if event.kind == "break":
        length = min(len(sound), AUDIO48_HZ // 5)
        crash = generator.standard_normal(length).astype(np.float32)
        crash *= np.exp(-np.arange(length, dtype=np.float32) * (7.0 / length))
        sound[:length] += 0.5 * crash
    return sound / np.abs(sound).max()


def room_noise(seconds: float, generator: np.random.Generator) -> Sound:
    """The noise (T,) of a recording in which nothing happens."""
    noise = generator.standard_normal(count(seconds, AUDIO48_HZ), np.float32)
    return noise * np.float32(10 ** (FLOOR_DBFS / 20))


def _modes(material: Material, pitch: float, t60_s: float, generator: np.random.Generator) -> Sound:
    """Decaying sines that begin at 0; a mode above hearing is left out."""
    length = math.ceil(min(t60_s, LONGEST_S) * AUDIO48_HZ)
    total = np.zeros(length, np.float32)
    for number, ratio in enumerate(material.ratios):
        frequency = pitch * ratio * float(generator.uniform(0.995, 1.005) if number else 1.0)
        if frequency > 0.45 * AUDIO48_HZ:
            break
        fall = math.log(1000.0) / t60_s * (1.0 + material.damping * math.log2(ratio))
        level = 10 ** (material.tilt_db * number / 20)
        total += level * _ring(frequency, fall, length)
    return total


def _ring(frequency_hz: float, fall_per_s: float, length: int) -> Sound:
    """A decaying sine (T,): powers of one complex number, by blocks and within a block."""
    step = complex(-fall_per_s, 2 * math.pi * frequency_hz) / AUDIO48_HZ
    blocks = -(-length // BLOCK)
    outer = np.exp(step * BLOCK * np.arange(blocks)).astype(np.complex64)
    inner = np.exp(step * np.arange(BLOCK)).astype(np.complex64)
    return np.outer(outer, inner).imag.ravel()[:length]


def _add(track: Sound, start: int, sound: Sound) -> None:
    """Adds a sound to a track (T,) from a sample on; what reaches beyond the end is cut."""
    if start < len(track):
        length = min(len(sound), len(track) - start)
        track[start : start + length] += sound[:length]


def _add_span(
    track: Sound, event: Event, body: Body, peak: float, generator: np.random.Generator
) -> None:
    """Adds many small contacts: of drops where they land, of a rolling body at random.

    A rolling body is rougher on one side, which comes round with each turn.
    """
    from scipy.signal import oaconvolve

    first = math.ceil(event.start_s * AUDIO48_HZ - 1e-9)
    length = min(math.ceil(event.end_s * AUDIO48_HZ), len(track)) - first
    if length <= 0:
        return
    if event.kind == "rain":
        times = np.array(event.hits_s)
        strength = generator.uniform(0.3, 1.0, len(times))
        tick = _modes(MATERIALS[3], 3_200.0, 0.012, generator)
    else:
        rate_hz = 60.0 + 90.0 * event.speed_mps
        span_s = event.end_s - event.start_s
        times = event.start_s + np.sort(generator.uniform(0, span_s, max(int(rate_hz * span_s), 1)))
        turn = 2 * np.pi * (times - event.start_s) * event.speed_mps / (2 * np.pi * body.radius_m)
        strength = generator.uniform(0.2, 1.0, len(times)) * (0.55 + 0.45 * np.cos(turn))
        material = body.made_of
        tick = _modes(material, pitch_hz(body), min(material.t60_s, 0.12), generator)
    places = np.ceil(times * AUDIO48_HZ - 1e-9).astype(np.int64) - first
    kept = (places >= 0) & (places < length)
    train = np.zeros(length, np.float32)
    np.add.at(train, places[kept], strength[kept].astype(np.float32))
    ticks = np.asarray(oaconvolve(train, tick / np.abs(tick).max()), np.float32)
    top = float(np.abs(ticks).max())
    _add(track, first, ticks * np.float32(peak / max(top, 1e-9)))
