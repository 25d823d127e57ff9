"""Devices and damage on the way of a sound: what is drawn for a recipe, and how it is applied.

| kind | what it is | drawn |
|---|---|---|
| colour | another microphone: an equaliser of seven bands | centre, gain and Q of each |
| clipping | a stage that is driven too hard | threshold below the sound's peak |
| band_limit | a telephone or a small radio: a Butterworth band-pass | corners, steepness |
| codec | MP3 at a low rate | bit rate |
| film | an old optical sound track (Academy band, hiss, ticks, sprockets) | all levels, a key |

They are applied in this order, as transforms of audiomentations with frozen parameters: none draws
anything, so no global generator is touched. Nothing moves in time.

Audio is float32 in [-1, 1], shape (C, T): C channels, T samples.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.draws import between, rounded

Audio = NDArray[np.float32]
Device = dict[str, Any]

DEFAULT_DEVICES: dict[str, float] = {
    "colour": 0.3,
    "band_limit": 0.05,
    "codec": 0.05,
    "clipping": 0.02,
    "film": 0.0,
}
"""Kind → probability that a sound has it."""

COLOUR_BANDS_HZ = (
    ("low_shelf", 42.0, 95.0),
    ("peaking", 91.0, 204.0),
    ("peaking", 196.0, 441.0),
    ("peaking", 421.0, 948.0),
    ("peaking", 909.0, 2045.0),
    ("peaking", 1957.0, 4404.0),
    ("high_shelf", 4216.0, 7500.0),
)
COLOUR_Q = (0.4, 1.0)
COLOUR_GAIN_DB = 6.0
CLIPPING_DB = (2.0, 12.0)
BAND_LOW_HZ = (150.0, 400.0)
BAND_HIGH_HZ = (2800.0, 5000.0)
ROLLOFFS_DB = (12, 18, 24)
"""Steepness of either side of the band, in dB an octave."""
CODEC_KBPS = (32, 48, 64)
FILM_LOW_HZ = (60.0, 110.0)
FILM_HIGH_HZ = (4500.0, 7000.0)
FILM_HISS_DB = (-52.0, -36.0)
FILM_TICKS_PER_S = (0.5, 12.0)
FILM_TICK_DB = (-24.0, -8.0)
FILM_FLUTTER = (0.005, 0.03)
FILM_HUM_DB = (-66.0, -50.0)
KEY_VALUES = 1 << 32


def draw_devices(uniforms: Sequence[float], probabilities: Mapping[str, float]) -> list[Device]:
    """The devices on a sound's way in order, as JSON holds them, from `DEVICE_DRAWS` numbers.

    The numbers lie in [0, 1); a list of them is quicker than an array. Each kind has its own places
    in the block: the first says whether it is there, so another probability of one kind changes
    nothing of the others. A kind without a probability is never there.
    """
    if len(uniforms) != DEVICE_DRAWS:
        raise ValueError(f"{len(uniforms)} numbers were given; devices take {DEVICE_DRAWS}")
    if not probabilities:
        return []
    devices = []
    first = 0
    for kind, (numbers, draw, _) in _KINDS.items():
        if uniforms[first] < probabilities.get(kind, 0.0):
            devices.append({"kind": kind, **draw(uniforms[first + 1 : first + 1 + numbers])})
        first += 1 + numbers
    return devices


def apply_devices(audio: Audio, rate_hz: int, devices: Sequence[Device]) -> Audio:
    """Sound (C, T) behind the devices of a recipe, in their order: float32 (C, T).

    Silence stays silence. Raises ValueError for a kind that does not exist.
    """
    made = np.ascontiguousarray(audio, dtype=np.float32)
    for device in devices:
        require_kinds([device["kind"]])
        if made.any():
            made = np.asarray(_KINDS[device["kind"]][2](made, rate_hz, device), np.float32)
    return made


def require_kinds(kinds: Iterable[str]) -> None:
    """Raises ValueError for kinds of device that do not exist."""
    if unknown := sorted(set(kinds) - _KINDS.keys()):
        raise ValueError(f"devices: {unknown} is none of {sorted(_KINDS)}")


def _octaves_between(place: float, ends: tuple[float, float]) -> float:
    """A frequency that is as likely in each octave between the ends."""
    return rounded(ends[0] * (ends[1] / ends[0]) ** place)


def _one_of(place: float, values: tuple[int, ...]) -> int:
    return values[int(place * len(values))]


def _draw_colour(u: Sequence[float]) -> Device:
    bands = [
        {
            "kind": kind,
            "centre_hz": _octaves_between(u[3 * number], (low_hz, high_hz)),
            "gain_db": between(u[3 * number + 1], (-COLOUR_GAIN_DB, COLOUR_GAIN_DB)),
            "q": between(u[3 * number + 2], COLOUR_Q),
        }
        for number, (kind, low_hz, high_hz) in enumerate(COLOUR_BANDS_HZ)
    ]
    return {"bands": bands}


def _draw_clipping(u: Sequence[float]) -> Device:
    return {"threshold_db": between(u[0], CLIPPING_DB)}


def _draw_band_limit(u: Sequence[float]) -> Device:
    return {
        "low_hz": _octaves_between(u[0], BAND_LOW_HZ),
        "high_hz": _octaves_between(u[1], BAND_HIGH_HZ),
        "rolloff_db": _one_of(u[2], ROLLOFFS_DB),
    }


def _draw_codec(u: Sequence[float]) -> Device:
    return {"codec": "mp3", "kbps": _one_of(u[0], CODEC_KBPS)}


def _draw_film(u: Sequence[float]) -> Device:
    return {
        "low_hz": _octaves_between(u[0], FILM_LOW_HZ),
        "high_hz": _octaves_between(u[1], FILM_HIGH_HZ),
        "hiss_db": between(u[2], FILM_HISS_DB),
        "ticks_per_s": between(u[3], FILM_TICKS_PER_S),
        "tick_db": between(u[4], FILM_TICK_DB),
        "flutter": between(u[5], FILM_FLUTTER),
        "hum_db": between(u[6], FILM_HUM_DB),
        "key": int(u[7] * KEY_VALUES),
    }


def _coloured(audio: Audio, rate_hz: int, device: Device) -> Audio:
    from audiomentations import SevenBandParametricEQ

    equaliser = SevenBandParametricEQ(p=1.0)
    filters = (
        equaliser.low_shelf_filter,
        *equaliser.peaking_filters,
        equaliser.high_shelf_filter,
    )
    for one, band in zip(filters, device["bands"], strict=True):
        _freeze(one, center_freq=band["centre_hz"], gain_db=band["gain_db"], q_factor=band["q"])
    _freeze(equaliser)
    return equaliser(audio, rate_hz)


def _clipped(audio: Audio, rate_hz: int, device: Device) -> Audio:
    from audiomentations import Clip

    ceiling = float(np.abs(audio).max()) * 10 ** (-device["threshold_db"] / 20)
    clip = Clip(a_min=-ceiling, a_max=ceiling, p=1.0)
    _freeze(clip)
    return clip(audio, rate_hz)


def _band_limited(audio: Audio, rate_hz: int, device: Device) -> Audio:
    from audiomentations import BandPassFilter

    low_hz, high_hz = device["low_hz"], device["high_hz"]
    band = BandPassFilter(min_rolloff=12, max_rolloff=24, p=1.0)
    _freeze(
        band,
        center_freq=(low_hz + high_hz) / 2,
        bandwidth=high_hz - low_hz,
        rolloff=device["rolloff_db"],
    )
    return band(audio, rate_hz)


def _coded(audio: Audio, rate_hz: int, device: Device) -> Audio:
    from tasks.device_transforms import Mp3

    return Mp3(device["kbps"])(audio, rate_hz)


def _filmed(audio: Audio, rate_hz: int, device: Device) -> Audio:
    from tasks.device_transforms import OpticalFilm

    return OpticalFilm(**{k: v for k, v in device.items() if k != "kind"})(audio, rate_hz)


def _freeze(transform: Any, **parameters: Any) -> None:
    """Sets all that a transform would draw."""
    transform.parameters = {"should_apply": True, **parameters}
    transform.freeze_parameters()


_KINDS: dict[str, tuple[int, Callable[[Sequence[float]], Device], Callable[..., Audio]]] = {
    "colour": (3 * len(COLOUR_BANDS_HZ), _draw_colour, _coloured),
    "clipping": (1, _draw_clipping, _clipped),
    "band_limit": (3, _draw_band_limit, _band_limited),
    "codec": (1, _draw_codec, _coded),
    "film": (8, _draw_film, _filmed),
}
"""Kind → how many numbers its parameters take, what draws them, and what applies them."""

DEVICE_DRAWS = sum(1 + numbers for numbers, _, _ in _KINDS.values())
"""How many numbers `draw_devices` takes."""
