"""Draw a box-shaped room and simulate what it does to sound: its impulse response.

Early reflections are the image sources of pyroomacoustics. After `images_s` the reflections are so
dense that only their energy counts, and Gaussian noise that decays at the room's rate takes over:
an image of every later one would cost seconds a room, and those of a perfect box line up into
sweeping tones that no real room has. Walls absorb all frequencies alike (Eyring's formula).

Images lie at the level 1/distance, so their energy a second is 4 pi c / V times the decay: the
noise begins at exactly that level, and no join needs to be fitted.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO48_HZ, count
from tasks.draws import rounded

SPEED_OF_SOUND_M_S = 343.0
WALL_MARGIN_M = 0.3
MOUTH_M = (1.0, 1.8)
STEEPEST = 0.35  # sine of the largest angle between the horizon and the way to the microphone
TRIES = 200
DECAY = 6 * math.log(10)  # of energy over the time T60, in nepers
CROSS_FADE_S = 0.01
LOW_CUT_HZ = 20.0

Point = tuple[float, float, float]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Room:
    """A box with a speaker and a microphone in it.

    Attributes:
        size_m: width, depth and height.
        t60_s: time in which the reverberation falls by 60 dB.
        source_m: where the speaker's mouth is, from one corner.
        microphone_m: where the microphone is.
    """

    size_m: Point
    t60_s: float
    source_m: Point
    microphone_m: Point

    @property
    def distance_m(self) -> float:
        """From the mouth to the microphone."""
        return math.dist(self.source_m, self.microphone_m)

    @property
    def reflected_energy(self) -> float:
        """The share of energy that a wall sends back, by Eyring's formula."""
        width, depth, height = self.size_m
        walls_m2 = 2 * (width * depth + depth * height + height * width)
        free_path_m = 4 * width * depth * height / walls_m2
        return math.exp(-DECAY * free_path_m / (SPEED_OF_SOUND_M_S * self.t60_s))


def draw_room(
    generator: np.random.Generator,
    t60_s: Range,
    sizes_m: tuple[Range, Range, Range],
    distance_m: Range,
) -> Room:
    """A room with everything drawn evenly from its range.

    The distance is shortened where the room has no place for it, and is a whole number of samples
    at 48 kHz, so that the direct sound is a single sample.
    """
    t60 = generator.uniform(*t60_s)
    size = [rounded(generator.uniform(*side)) for side in sizes_m]
    distance = generator.uniform(*distance_m)
    low = np.full(3, WALL_MARGIN_M)
    high = np.array(size) - WALL_MARGIN_M
    while True:
        step_m = SPEED_OF_SOUND_M_S / AUDIO48_HZ
        away_m = max(1, round(distance / step_m)) * step_m
        for _ in range(TRIES):
            source = generator.uniform(low, high)
            source[2] = min(generator.uniform(*MOUTH_M), high[2])
            rise, turn = generator.uniform(-STEEPEST, STEEPEST), generator.uniform(0, 2 * math.pi)
            level = math.sqrt(1 - rise**2)
            way = np.array([level * math.cos(turn), level * math.sin(turn), rise])
            microphone = source + away_m * way
            if np.all((low <= microphone) & (microphone <= high)):
                return Room(_point(size), rounded(t60), _point(source), _point(microphone))
        distance *= 0.9


def _point(values: NDArray[np.float64] | list[float]) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z


def simulate(room: Room, generator: np.random.Generator, images_s: float) -> NDArray[np.float64]:
    """The impulse response at 48 kHz, float64 (T,): direct sound of 1 at sample 0, nothing before.

    It ends where the reverberation has fallen by 60 dB.
    """
    whole = count(room.t60_s, AUDIO48_HZ) + 1
    early = _images(room, min(images_s, room.t60_s))
    flight = round(room.distance_m / SPEED_OF_SOUND_M_S * AUDIO48_HZ)
    # From here on time counts from the arrival of the direct sound.
    response = np.zeros(whole)
    early = early[flight : flight + whole]
    response[: len(early)] = early
    join, fade = len(early), count(CROSS_FADE_S, AUDIO48_HZ)
    if join < whole:
        place = np.clip((np.arange(whole) - (join - fade) + 0.5) / fade, 0, 1)
        response *= np.cos(place * math.pi / 2)
        response += np.sin(place * math.pi / 2) * _tail(room, generator, flight, whole)
    response *= room.distance_m
    response[0] = 0.0
    response = _low_cut(response)
    response[0] = 1.0
    return response


def _images(room: Room, until_s: float) -> NDArray[np.float64]:
    """All image sources that arrive before `until_s` from the emission, as float64 (T,)."""
    import pyroomacoustics as pra

    # One thread, so that sums have one order; a filter of ours takes the place of its zero-phase
    # one, which would ring before the direct sound.
    pra.constants.set("num_threads", 1)
    pra.constants.set("rir_hpf_enable", False)
    pra.constants.set("c", SPEED_OF_SOUND_M_S)
    reach_m = SPEED_OF_SOUND_M_S * until_s
    order = math.ceil(reach_m * math.hypot(*(1 / side for side in room.size_m))) + 3
    box = pra.ShoeBox(
        list(room.size_m),
        fs=AUDIO48_HZ,
        materials=pra.Material(1 - room.reflected_energy),
        max_order=order,
    )
    box.add_source(list(room.source_m))
    box.add_microphone(list(room.microphone_m))
    box.compute_rir()
    response = np.asarray(box.rir[0][0], np.float64)  # pyright: ignore[reportOptionalSubscript]
    lead = pra.constants.get("frac_delay_length") // 2
    return response[lead : lead + count(until_s, AUDIO48_HZ)]


def _tail(
    room: Room, generator: np.random.Generator, flight: int, samples: int
) -> NDArray[np.float64]:
    """Noise with the energy of all image sources, float64 (samples,), from the direct sound on."""
    power = 4 * math.pi * SPEED_OF_SOUND_M_S / math.prod(room.size_m) / AUDIO48_HZ
    times_s = (np.arange(samples) + flight) / AUDIO48_HZ
    level = np.exp(-DECAY / 2 * times_s / room.t60_s)
    return math.sqrt(power) * level * generator.standard_normal(samples)


def _low_cut(reverberation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The reverberation without its mean: images all have one sign, and pressure does not stay."""
    from scipy.signal import butter, sosfilt

    sections = butter(2, LOW_CUT_HZ, "highpass", fs=AUDIO48_HZ, output="sos")
    return np.asarray(sosfilt(sections, reverberation))
