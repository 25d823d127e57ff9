"""Plan a mixture of speech with ambience as a recipe: the recipe is the sample.

A recipe is a plain dict that holds all that a mixture depends on: both parents by content hash,
times and speech spans, what was drawn, and how the master is made. Which mixtures are made, and
what is drawn for each, depends on the configuration and the item alone.

Every mixture has a row of even draws from a Philox generator keyed by seed, parents and take. Each
thing that is drawn has places of its own in that row, so that one changed setting moves nothing
else.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from models.timeline import AUDIO_HZ
from storage.blobs import hash_in
from tasks.draws import between, even_draws, rounded
from tasks.mix_devices import DEFAULT_DEVICES, DEVICE_DRAWS, draw_devices
from tasks.mix_regimes import REGIMES, WEIGHTS, Regime, drawn_name

Recipe = dict[str, Any]

RECIPE_VERSION = 2
# Both the 10 fps and the 25 fps grid have a frame every 0.2 s: what starts and loops on this grid
# keeps its picture exactly under its sound.
GRID_S = 0.2
# Places in the row of draws.
REGIME, LEVEL, MODE, LENGTH, START, OFFSET, ROOM = range(7)
DUCKING = slice(7, 10)
COMPOSE = slice(10, 12)
SPEECH_DEVICES = slice(16, 16 + DEVICE_DRAWS)
AMBIENCE_DEVICES = slice(16 + DEVICE_DRAWS, 16 + 2 * DEVICE_DRAWS)
DRAWS = 16 + 2 * DEVICE_DRAWS
MIN_AROUND_INSERT_S = 1.0  # an insert with less around it would leave no ambience to hear
INSET_SHARE = (0.3, 0.45)  # of the picture's width
CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")

Share = Annotated[float, Field(ge=0, le=1)]
Keep = Literal["stems", "mix", "recipe"]
Compose = Literal["features", "cut", "inset"]


@dataclass(frozen=True, slots=True)
class MixConfig:
    """Which mixtures are made, and what they must achieve.

    Attributes:
        mixtures_per_clip: takes of each speech clip; each has an ambience and a level of its own.
        language_balance: 0 gives every speech clip as many takes; 1 gives every language as many
            mixtures, as far as four times the takes of a clip reach.
        regimes: regime → weight; the weights need not sum to one.
        modes: add lays the ambience under the speech; insert silences it there.
        rate_hz: sample rate of the mixtures: 16000 for training, 48000 for export.
        keep: what is stored: mix and stems, the mix, or nothing but the recipe, from which the
            sound is rendered again wherever it is needed.
        max_length_s: longest mixture; the speech itself may not be longer.
        full_length_share: share of mixtures as long as the ambience allows, with the speech
            somewhere in them; the others are as long as their speech.
        room_probability: share of speech that is heard in a room, where there are rooms.
        ducking_depth_db: how far broadcast ambience gives way, drawn evenly.
        ducking_attack_s: how long before the speech it begins to, drawn evenly.
        ducking_release_s: how long after the speech it comes back, drawn evenly.
        speech_devices: device or damage → share of speech that has passed through it.
        ambience_devices: the same for ambience.
        compose: how two pictures become one: features combines what was computed from each, cut
            shows the speaker while they speak, inset lays the speaker into a corner.
        loudness_lufs: loudness of the finished mix.
        loudness_tolerance_lu: a mix further from it than this is rejected.
        true_peak_dbtp: highest true peak of the finished mix.
        tolerance_db: a mix further than this from the requested SNR or loudness difference is
            rejected.
        max_ambience_gain_db: more gain than this would lift the noise of a silent recording.
        fade_ms: length of fades at the ends and of cross-fades where ambience is repeated.
        frame_ms: length of the frames on which speech counts as active.
        min_ambience_s: shorter ambience is not used.
        max_ambience_silence: ambience with a larger share of silent frames is not used.
        max_ambience_speech_score: ambience in which speech scores higher is not used.
        seed: another seed gives other partners, levels and devices.
        licences: only sources under these are mixed; set from `snapshot.licences`.
    """

    mixtures_per_clip: Annotated[int, Field(ge=0, le=1000)] = 1
    language_balance: Share = 0.5
    regimes: dict[str, Annotated[float, Field(ge=0)]] = field(
        default_factory=lambda: dict(WEIGHTS), hash=False
    )
    modes: dict[str, Annotated[float, Field(ge=0)]] = field(
        default_factory=lambda: {"add": 0.9, "insert": 0.1}, hash=False
    )
    rate_hz: Literal[16_000, 48_000] = AUDIO_HZ
    keep: Keep = "stems"
    max_length_s: Annotated[float, Field(ge=1, le=10)] = 10.0
    full_length_share: Share = 0.5
    room_probability: Share = 0.6
    ducking_depth_db: tuple[float, float] = (3.0, 12.0)
    ducking_attack_s: tuple[float, float] = (0.1, 0.3)
    ducking_release_s: tuple[float, float] = (0.4, 1.0)
    speech_devices: dict[str, Share] = field(
        default_factory=lambda: dict(DEFAULT_DEVICES), hash=False
    )
    ambience_devices: dict[str, Share] = field(default_factory=dict, hash=False)
    compose: Compose = "features"
    loudness_lufs: Annotated[float, Field(ge=-60, le=-10)] = -27.0
    loudness_tolerance_lu: Annotated[float, Field(gt=0)] = 1.0
    true_peak_dbtp: Annotated[float, Field(ge=-20, le=-0.1)] = -2.0
    tolerance_db: Annotated[float, Field(gt=0)] = 0.5
    max_ambience_gain_db: Annotated[float, Field(ge=0)] = 40.0
    fade_ms: Annotated[float, Field(ge=10, le=20)] = 15.0
    frame_ms: Annotated[float, Field(ge=5, le=100)] = 30.0
    min_ambience_s: Annotated[float, Field(ge=0.5)] = 1.0
    max_ambience_silence: Share = 0.5
    max_ambience_speech_score: Share = 0.2
    seed: int = 0
    licences: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, for what no mixture can be drawn from."""
        for name, weights, known in (
            ("regimes", self.regimes, REGIMES),
            ("modes", self.modes, ("add", "insert")),
        ):
            if unknown := sorted(set(weights) - set(known)):
                raise ValueError(f"mix.{name}: {unknown} is none of {sorted(known)}")
            if min(weights.values(), default=0.0) < 0 or sum(weights.values()) <= 0:
                raise ValueError(f"mix.{name}={weights}: give at least one a positive weight")
        for name, low, high in (
            ("ducking_depth_db", 0.0, 24.0),
            ("ducking_attack_s", 0.01, 2.0),
            ("ducking_release_s", 0.01, 4.0),
        ):
            least, most = getattr(self, name)
            if not low <= least <= most <= high:
                raise ValueError(
                    f"mix.{name}={[least, most]}: give a range within [{low:g}, {high:g}]"
                )
        for name in ("speech_devices", "ambience_devices"):
            if unknown := sorted(set(getattr(self, name)) - set(DEFAULT_DEVICES)):
                raise ValueError(f"mix.{name}: {unknown} is none of {sorted(DEFAULT_DEVICES)}")


def plan_recipe(item: dict[str, Any], config: MixConfig) -> Recipe:
    """The canonical recipe of one item: equal items and configurations give equal recipes.

    Floats have six digits. Raises ValueError where the ambience is too short to be repeated.
    """
    draft = _draft(item, config)
    regime = draft.regime
    speech = _speech(draft) if regime.has_speech else None
    ambience = _ambience(draft) if regime.has_ambience else None
    asked = rounded(regime.draw(draft.draws[LEVEL])) if regime.level else None
    return {
        "version": RECIPE_VERSION,
        "mode": draft.mode,
        "regime": regime.name,
        "seed": config.seed,
        "drawn_for": f"{item['speech_clip_id']}:{item['take']}",
        "rate_hz": config.rate_hz,
        "duration_s": draft.duration_s,
        "requested": {
            "snr_db": asked if regime.level == "snr_db" else None,
            "loudness_difference_lu": asked if regime.level == "loudness_difference_lu" else None,
        },
        "speech": speech,
        "ambience": ambience,
        "fade_ms": rounded(config.fade_ms),
        "frame_ms": rounded(config.frame_ms),
        "master": {
            "loudness_lufs": rounded(config.loudness_lufs),
            "true_peak_dbtp": rounded(config.true_peak_dbtp),
        },
        "conditions": _conditions(draft, speech, ambience),
    }


@dataclass(frozen=True, slots=True)
class _Draft:
    """What the parts of a recipe are made from: the item, its draws, and its plan in time."""

    item: Mapping[str, Any]
    config: MixConfig
    draws: list[float]
    regime: Regime
    mode: str
    speech_s: float
    available_s: float
    duration_s: float
    at_s: float


def _draft(item: Mapping[str, Any], config: MixConfig) -> _Draft:
    key = (item["speech_clip_id"], item["ambience_clip_id"], item["take"])
    draws = even_draws(DRAWS, "mix", config.seed, *key)
    regime = REGIMES[drawn_name(draws[REGIME], config.regimes)]
    mode = drawn_name(draws[MODE], config.modes) if regime.level else "add"
    speech_s = rounded(item["speech_end_s"] - item["speech_start_s"])
    available_s = rounded(item["ambience_end_s"] - item["ambience_start_s"])
    longest_s = rounded(_steps(min(available_s, config.max_length_s)) * GRID_S)
    # A speaker who is seen where the ambience is not would leave the rest without a picture.
    hidden = item["speech_has_picture"] and not item["ambience_has_picture"]
    is_full = mode == "insert" or draws[LENGTH] < config.full_length_share
    duration_s, at_s = speech_s, 0.0
    if not regime.has_speech:
        wanted_s = longest_s if is_full else min(longest_s, _steps(speech_s) * GRID_S)
        duration_s = rounded(max(wanted_s, GRID_S))
    elif regime.has_ambience and is_full and not hidden and longest_s > speech_s:
        starts = _steps(longest_s - speech_s) + 1
        duration_s, at_s = longest_s, rounded(int(draws[START] * starts) * GRID_S)
    if duration_s - speech_s < MIN_AROUND_INSERT_S:
        mode = "add"
    return _Draft(item, config, draws, regime, mode, speech_s, available_s, duration_s, at_s)


def _steps(length_s: float) -> int:
    """Whole grid steps within a length."""
    return max(0, math.floor(length_s / GRID_S + 1e-6))


def _speech(draft: _Draft) -> Recipe:
    item, config, draws = draft.item, draft.config, draft.draws
    room = None
    if item["room_id"] is not None and draws[ROOM] < config.room_probability:
        room = {
            "room_id": item["room_id"],
            "response_sha256": hash_in(item["room_ref"]),
            "t60_s": rounded(item["t60_s"]),
        }
    return _parent(item, "speech") | {
        "at_s": draft.at_s,
        "spans_s": [
            [rounded(span["start_s"]), rounded(span["end_s"])] for span in item["speech_spans"]
        ],
        "room": room,
        "devices": draw_devices(draws[SPEECH_DEVICES], config.speech_devices),
    }


def _ambience(draft: _Draft) -> Recipe:
    config = draft.config
    spare_s = draft.available_s - draft.duration_s
    offset_s, loop_s = 0.0, None
    if spare_s >= 0:
        offset_s = rounded(int(draft.draws[OFFSET] * (_steps(spare_s) + 1)) * GRID_S)
    else:
        turns = _steps(draft.available_s - config.fade_ms / 1000)
        if turns < 1:
            raise ValueError(
                f"ambience of {draft.available_s} s is too short to repeat; give at least 0.3 s"
            )
        loop_s = rounded(turns * GRID_S)
    ducking = None
    if draft.regime.ducks and draft.mode == "add":
        depth, attack, release = draft.draws[DUCKING]
        ducking = {
            "depth_db": between(depth, config.ducking_depth_db),
            "attack_s": between(attack, config.ducking_attack_s),
            "release_s": between(release, config.ducking_release_s),
        }
    return _parent(draft.item, "ambience") | {
        "offset_s": offset_s,
        "loop_s": loop_s,
        "ducking": ducking,
        "devices": draw_devices(draft.draws[AMBIENCE_DEVICES], config.ambience_devices),
    }


def _parent(item: Mapping[str, Any], parent: str) -> Recipe:
    return {
        "clip_id": item[f"{parent}_clip_id"],
        "audio_sha256": hash_in(item[f"{parent}_audio_ref"]),
        "start_s": rounded(item[f"{parent}_start_s"]),
        "end_s": rounded(item[f"{parent}_end_s"]),
    }


def _conditions(draft: _Draft, speech: Recipe | None, ambience: Recipe | None) -> Recipe:
    """What is seen and said under the mixture, over exactly the spans of its sounds."""
    item, config = draft.item, draft.config
    picture = []
    if ambience and item["ambience_has_picture"]:
        picture.append(
            {
                "clip_id": ambience["clip_id"],
                "at_s": 0.0,
                "length_s": draft.duration_s,
                "offset_s": ambience["offset_s"],
                "loop_s": ambience["loop_s"],
            }
        )
    if speech and item["speech_has_picture"]:
        picture.append(
            {
                "clip_id": speech["clip_id"],
                "at_s": speech["at_s"],
                "length_s": draft.speech_s,
                "offset_s": 0.0,
                "loop_s": None,
            }
        )
    compose = None
    if len(picture) == 2 and config.compose != "features":
        compose = {"kind": config.compose}
        if config.compose == "inset":
            corner, share = draft.draws[COMPOSE]
            compose |= {
                "corner": CORNERS[int(corner * len(CORNERS))],
                "share": between(share, INSET_SHARE),
            }
    said = {"clip_id": speech["clip_id"], "at_s": speech["at_s"]} if speech else None
    return {"combine": draft.mode, "picture": picture, "compose": compose, "phonemes": said}
