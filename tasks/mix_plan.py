"""Plan a mixture of speech with ambience as a recipe.

A recipe is a plain dict that holds all that a mixture depends on: both parents by content hash,
times and speech spans, what was drawn, and how the master is made. Which mixtures are made, and
what is drawn for each, depends on the configuration and the item alone.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.timeline import AUDIO_HZ, count
from storage.blobs import hash_in
from storage.ids import canonical_json

Recipe = dict[str, Any]

RECIPE_VERSION = 1
DIGITS = 6
# Both the 10 fps and the 25 fps grid have a frame every 0.2 s: an ambience that starts and loops on
# this grid keeps its picture exactly under its sound.
GRID_S = 0.2
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


def _location_snr_db(generator: np.random.Generator) -> float:
    while True:
        drawn = generator.normal(7.0, 5.0)
        if -3.0 <= drawn <= 20.0:
            return drawn


def _hard_snr_db(generator: np.random.Generator) -> float:
    return generator.uniform(-5.0, 5.0)


REGIMES: dict[str, Callable[[np.random.Generator], float]] = {
    "location": _location_snr_db,
    "hard": _hard_snr_db,
}
"""Regime → its law. location: SNR ~ N(7, 5) dB within [-3, 20]; hard: SNR ~ U(-5, 5) dB."""


@dataclass(frozen=True, slots=True)
class MixConfig:
    """Which mixtures are made, and what they must achieve.

    Attributes:
        mixtures_per_clip: takes of each speech clip; each has an ambience and a level of its own.
        regimes: regime → weight; the weights need not sum to one.
        loudness_lufs: loudness of the finished mix.
        loudness_tolerance_lu: a mix further from it than this is rejected.
        true_peak_dbtp: highest true peak of the finished mix.
        tolerance_db: a mix whose SNR is further from the requested one than this is rejected.
        max_ambience_gain_db: more gain than this would lift the noise of a silent recording.
        fade_ms: length of fades at the ends and of cross-fades where ambience is repeated.
        frame_ms: length of the frames on which speech counts as active.
        colour_probability: share of mixtures whose speech is coloured as by another microphone.
        colour_gain_db: largest boost or cut of a band of that colouration.
        min_ambience_s: shorter ambience is not used.
        max_ambience_silence: ambience with a larger share of silent frames is not used.
        max_ambience_speech_score: ambience in which speech scores higher is not used.
        seed: another seed gives other partners, levels and colours.
        licences: only sources under these are mixed; set from `snapshot.licences`.
    """

    mixtures_per_clip: Annotated[int, Field(ge=0, le=1000)] = 1
    regimes: dict[str, Annotated[float, Field(ge=0)]] = field(
        default_factory=lambda: {"location": 0.75, "hard": 0.25}, hash=False
    )
    loudness_lufs: Annotated[float, Field(ge=-60, le=-10)] = -27.0
    loudness_tolerance_lu: Annotated[float, Field(gt=0)] = 1.0
    true_peak_dbtp: Annotated[float, Field(ge=-20, le=-0.1)] = -2.0
    tolerance_db: Annotated[float, Field(gt=0)] = 0.5
    max_ambience_gain_db: Annotated[float, Field(ge=0)] = 40.0
    fade_ms: Annotated[float, Field(ge=10, le=20)] = 15.0
    frame_ms: Annotated[float, Field(ge=5, le=100)] = 30.0
    colour_probability: Annotated[float, Field(ge=0, le=1)] = 0.3
    colour_gain_db: Annotated[float, Field(ge=0, le=12)] = 6.0
    min_ambience_s: Annotated[float, Field(ge=0.5)] = 1.0
    max_ambience_silence: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_ambience_speech_score: Annotated[float, Field(ge=0, le=1)] = 0.2
    seed: int = 0
    licences: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for a regime that does not exist, or weights that choose none."""
        if unknown := sorted(set(self.regimes) - set(REGIMES)):
            raise ValueError(f"mix.regimes: {unknown} is none of {sorted(REGIMES)}")
        if min(self.regimes.values(), default=0.0) < 0 or sum(self.regimes.values()) <= 0:
            raise ValueError(f"mix.regimes={self.regimes}: give at least one a positive weight")


def plan_recipe(item: dict[str, Any], config: MixConfig, rate_hz: int = AUDIO_HZ) -> Recipe:
    """The canonical recipe of one item: equal items and configurations give equal recipes.

    Draws come from a Philox generator keyed by seed, parents and take, in a fixed order: regime,
    level, offset, colour. Floats have six digits. The picture under the mixture is that of the
    speech clip, or else of the ambience clip; `picture_rows` says which of its rows.
    """
    seed, take = config.seed, item["take"]
    generator = _generator("mix", seed, item["speech_clip_id"], item["ambience_clip_id"], take)
    regime = _regime(generator, config)
    requested_db = REGIMES[regime](generator)
    duration_s = rounded(item["speech_end_s"] - item["speech_start_s"])
    available_s = rounded(item["ambience_end_s"] - item["ambience_start_s"])
    offset_s, loop_s = _placement(generator, duration_s, available_s, config.fade_ms / 1000)
    colour = _colour(generator, config.colour_gain_db, config.colour_probability)
    picture = _picture(item, offset_s, loop_s)
    return {
        "version": RECIPE_VERSION,
        "mode": "add",
        "seed": seed,
        "take": take,
        "rate_hz": rate_hz,
        "duration_s": duration_s,
        "regime": regime,
        "requested_snr_db": rounded(requested_db),
        "speech": _parent(item, "speech")
        | {
            "spans_s": [
                [rounded(span["start_s"]), rounded(span["end_s"])] for span in item["speech_spans"]
            ],
            "colour": colour,
        },
        "ambience": _parent(item, "ambience") | {"offset_s": offset_s, "loop_s": loop_s},
        "fade_ms": rounded(config.fade_ms),
        "frame_ms": rounded(config.frame_ms),
        "master": {
            "loudness_lufs": rounded(config.loudness_lufs),
            "true_peak_dbtp": rounded(config.true_peak_dbtp),
        },
        "phoneme_clip_id": item["speech_clip_id"],
        **picture,
    }


def _generator(*key: Any) -> np.random.Generator:
    digest = hashlib.sha256(canonical_json(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def rounded(value: float) -> float:
    """A number with the six digits that recipes and measures keep."""
    # Adding zero turns -0.0 into 0.0, which is another text in JSON.
    return round(float(value), DIGITS) + 0.0


def _regime(generator: np.random.Generator, config: MixConfig) -> str:
    names = sorted(name for name, weight in config.regimes.items() if weight > 0)
    point = generator.random() * sum(config.regimes[name] for name in names)
    for name in names:
        point -= config.regimes[name]
        if point < 0:
            return name
    return names[-1]


def _placement(
    generator: np.random.Generator, duration_s: float, available_s: float, fade_s: float
) -> tuple[float, float | None]:
    """Where the ambience starts, and the period of its repetition where it is too short."""
    spare_s = available_s - duration_s
    steps = math.floor(spare_s / GRID_S + 1e-6) if spare_s >= 0 else 0
    drawn = int(generator.integers(0, steps + 1))
    if spare_s >= 0:
        return rounded(drawn * GRID_S), None
    turns = math.floor((available_s - fade_s) / GRID_S + 1e-6)
    if turns < 1:
        raise ValueError(f"ambience of {available_s} s is too short to repeat; give at least 0.3 s")
    return 0.0, rounded(turns * GRID_S)


def _colour(
    generator: np.random.Generator, gain_db: float, probability: float
) -> list[dict[str, Any]] | None:
    if generator.random() >= probability:
        return None
    draws = generator.random((len(COLOUR_BANDS_HZ), 3))
    low_q, high_q = COLOUR_Q
    return [
        {
            "kind": kind,
            "centre_hz": rounded(low_hz * (high_hz / low_hz) ** place),
            "gain_db": rounded((2 * boost - 1) * gain_db),
            "q": rounded(low_q + (high_q - low_q) * width),
        }
        for (kind, low_hz, high_hz), (place, boost, width) in zip(
            COLOUR_BANDS_HZ, draws.tolist(), strict=True
        )
    ]


def _parent(item: dict[str, Any], parent: str) -> Recipe:
    return {
        "clip_id": item[f"{parent}_clip_id"],
        "audio_sha256": hash_in(item[f"{parent}_audio_ref"]),
        "start_s": rounded(item[f"{parent}_start_s"]),
        "end_s": rounded(item[f"{parent}_end_s"]),
    }


def _picture(item: dict[str, Any], offset_s: float, loop_s: float | None) -> Recipe:
    if item["speech_has_picture"]:
        clip, offset_s, loop_s = item["speech_clip_id"], 0.0, None
    elif item["ambience_has_picture"]:
        clip = item["ambience_clip_id"]
    else:
        clip, offset_s, loop_s = None, 0.0, None
    return {"picture_clip_id": clip, "picture_offset_s": offset_s, "picture_loop_s": loop_s}


def picture_rows(recipe: Recipe, fps: float) -> NDArray[np.int64]:
    """Rows of the picture clip's features at `fps` that lie under the mixture, one a frame.

    The sound of an ambience that is shorter than the speech repeats, and its picture with it.
    A row may lie one past the clip's last where the clip's length is not a whole number of
    frames: clip the result to the rows that there are.
    """
    rows = np.arange(count(recipe["duration_s"], fps))
    if recipe["picture_loop_s"] is not None:
        rows = rows % max(1, count(recipe["picture_loop_s"], fps))
    return rows + count(recipe["picture_offset_s"], fps)
