"""Mix speech with ambience at a requested level: the recipe is the sample.

A recipe is a plain dict that holds all that a mixture depends on: both parents by content hash,
times and speech spans, what was drawn, and how the master is made. `mix_id` is its hash, and
rendering it again gives the same samples, whatever else is rendered before, beside or after it.

Ambience is chosen by rendezvous hashing: each pair of speech clip and take draws a hash for every
ambience clip of its split, and the lowest wins. A new clip changes only the choices that it wins,
and no mixture crosses splits.

Audio is float32, shape (C, T). Stems are stored as 16-bit FLAC. They are quantised before they are
measured, and the mix is the sum of the quantised stems, so it equals them exactly.
"""

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.timeline import AUDIO_HZ, count, index
from storage.blobs import Blobs, hash_in
from storage.ids import canonical_json, mix_id
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.levels import (
    Audio,
    active_mask,
    db,
    energy,
    fade,
    gain,
    loop,
    loudness_lufs,
    pad_or_trim,
    snr_db,
    true_peak_dbtp,
)
from tasks.media import FULL_SCALE, read_audio, to_pcm16

Recipe = dict[str, Any]

RECIPE_VERSION = 1
DIGITS = 6
# Both the 10 fps and the 25 fps grid have a frame every 0.2 s: an ambience that starts and loops on
# this grid keeps its picture exactly under its sound.
GRID_S = 0.2
PEAK_MARGIN_DB = 0.01
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

    def __post_init__(self) -> None:
        """Raises ValueError for a regime that does not exist, or weights that choose none."""
        if unknown := sorted(set(self.regimes) - set(REGIMES)):
            raise ValueError(f"mix.regimes: {unknown} is none of {sorted(REGIMES)}")
        if min(self.regimes.values(), default=0.0) < 0 or sum(self.regimes.values()) <= 0:
            raise ValueError(f"mix.regimes={self.regimes}: give at least one a positive weight")


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured on the stems as they are stored, not what was asked for.

    Attributes:
        achieved_snr_db: speech over ambience on speech-active frames.
        loudness_lufs: loudness of the mix.
        true_peak_dbtp: true peak of the mix.
        sum_error: largest |mix - speech - ambience|, full scale being 1.
    """

    achieved_snr_db: float
    loudness_lufs: float
    true_peak_dbtp: float
    sum_error: float


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished mixture: float32 (C, T) on the grid of 16-bit samples, and its measures."""

    mix: Audio
    speech_stem: Audio
    ambience_stem: Audio
    measures: Measures


def mix_shard(shard: ShardRef, out: ShardTarget, config: MixConfig) -> ShardResult:
    """Plans and renders the mixtures of a shard; stores mix and stems as FLAC."""
    blobs = Blobs(out.workspace)

    def mix(item: dict[str, Any]) -> Rows:
        recipe = plan_recipe(item, config)
        speech, ambience = (
            read_audio(
                out.workspace,
                item[f"{parent}_audio_ref"],
                item[f"{parent}_start_s"],
                item[f"{parent}_end_s"],
                recipe["rate_hz"],
            )
            for parent in ("speech", "ambience")
        )
        rendered = render(recipe, speech, ambience, config.max_ambience_gain_db)
        require_levels(rendered.measures, recipe, config)
        rate_hz = recipe["rate_hz"]
        row = {
            "mix_id": mix_id(recipe),
            "item_id": item["item_id"],
            "speech_clip_id": item["speech_clip_id"],
            "ambience_clip_id": item["ambience_clip_id"],
            "regime": recipe["regime"],
            "requested_snr_db": recipe["requested_snr_db"],
            **asdict(rendered.measures),
            "duration_s": recipe["duration_s"],
            "split": item["split"],
            "mix_ref": blobs.put_bytes(flac_bytes(rendered.mix, rate_hz), ".flac"),
            "speech_ref": blobs.put_bytes(flac_bytes(rendered.speech_stem, rate_hz), ".flac"),
            "ambience_ref": blobs.put_bytes(flac_bytes(rendered.ambience_stem, rate_hz), ".flac"),
            "recipe": canonical_json(recipe),
        }
        return {"mixtures": [row]}

    return run_items(shard, out, mix)


# -- planning --------------------------------------------------------------------------------------


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
    duration_s = _rounded(item["speech_end_s"] - item["speech_start_s"])
    available_s = _rounded(item["ambience_end_s"] - item["ambience_start_s"])
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
        "requested_snr_db": _rounded(requested_db),
        "speech": _parent(item, "speech")
        | {
            "spans_s": [
                [_rounded(span["start_s"]), _rounded(span["end_s"])]
                for span in item["speech_spans"]
            ],
            "colour": colour,
        },
        "ambience": _parent(item, "ambience") | {"offset_s": offset_s, "loop_s": loop_s},
        "fade_ms": _rounded(config.fade_ms),
        "frame_ms": _rounded(config.frame_ms),
        "master": {
            "loudness_lufs": _rounded(config.loudness_lufs),
            "true_peak_dbtp": _rounded(config.true_peak_dbtp),
        },
        "phoneme_clip_id": item["speech_clip_id"],
        **picture,
    }


def _generator(*key: Any) -> np.random.Generator:
    digest = hashlib.sha256(canonical_json(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def _rounded(value: float) -> float:
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
        return _rounded(drawn * GRID_S), None
    turns = math.floor((available_s - fade_s) / GRID_S + 1e-6)
    if turns < 1:
        raise ValueError(f"ambience of {available_s} s is too short to repeat; give at least 0.3 s")
    return 0.0, _rounded(turns * GRID_S)


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
            "centre_hz": _rounded(low_hz * (high_hz / low_hz) ** place),
            "gain_db": _rounded((2 * boost - 1) * gain_db),
            "q": _rounded(low_q + (high_q - low_q) * width),
        }
        for (kind, low_hz, high_hz), (place, boost, width) in zip(
            COLOUR_BANDS_HZ, draws.tolist(), strict=True
        )
    ]


def _parent(item: dict[str, Any], parent: str) -> Recipe:
    return {
        "clip_id": item[f"{parent}_clip_id"],
        "audio_sha256": hash_in(item[f"{parent}_audio_ref"]),
        "start_s": _rounded(item[f"{parent}_start_s"]),
        "end_s": _rounded(item[f"{parent}_end_s"]),
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


# -- rendering -------------------------------------------------------------------------------------


def render(
    recipe: Recipe, speech: Audio, ambience: Audio, max_ambience_gain_db: float = 40.0
) -> Rendered:
    """The mixture of a recipe, from its parents' sound (C, T) at the recipe's rate.

    Both stems get the same fades. The ambience then gets the one gain that gives the requested SNR
    on speech-active frames, and both get the one gain that gives the requested loudness, lowered
    where the true peak would be too high.

    Raises Rejected("no_speech") where no frame is active, and Rejected("level_off") where a parent
    is silent where it is needed or the ambience needs more gain than allowed.
    """
    rate_hz = recipe["rate_hz"]
    samples = count(recipe["duration_s"], rate_hz)
    edge = index(recipe["fade_ms"] / 1000, rate_hz)
    mask = active_mask(recipe["speech"]["spans_s"], samples, rate_hz, recipe["frame_ms"])
    if not mask.any():
        raise Rejected("no_speech", f"clip {recipe['speech']['clip_id']}: no speech-active frame")
    voice = pad_or_trim(speech, samples)
    if recipe["speech"]["colour"] is not None:
        voice = coloured(voice, rate_hz, recipe["speech"]["colour"])
    voice = fade(voice, edge)
    bed = fade(ambience_bed(recipe, ambience, samples, edge), edge)
    bed *= np.float32(_ambience_gain(recipe, voice, bed, mask, max_ambience_gain_db))
    return _mastered(recipe, voice, bed, mask)


def ambience_bed(recipe: Recipe, ambience: Audio, samples: int, overlap: int) -> Audio:
    """The ambience (C, samples) as the recipe lays it: from its offset, or repeated."""
    placed, rate_hz = recipe["ambience"], recipe["rate_hz"]
    if placed["loop_s"] is not None:
        return loop(ambience, index(placed["loop_s"], rate_hz), samples, overlap)
    first = index(placed["offset_s"], rate_hz)
    return pad_or_trim(ambience[:, first : first + samples], samples)


def coloured(audio: Audio, rate_hz: int, bands: Sequence[dict[str, Any]]) -> Audio:
    """Sound (C, T) through the seven-band equaliser of audiomentations with the given bands.

    Its parameters are set and frozen: it draws nothing, so no global generator is touched.
    """
    from audiomentations import SevenBandParametricEQ

    equaliser = SevenBandParametricEQ(p=1.0)
    filters = (
        equaliser.low_shelf_filter,
        *equaliser.peaking_filters,
        equaliser.high_shelf_filter,
    )
    for one, band in zip(filters, bands, strict=True):
        one.parameters = {
            "should_apply": True,
            "center_freq": band["centre_hz"],
            "gain_db": band["gain_db"],
            "q_factor": band["q"],
        }
        one.freeze_parameters()
    equaliser.parameters.update(should_apply=True)  # pyright: ignore[reportArgumentType]
    equaliser.freeze_parameters()
    return equaliser(np.ascontiguousarray(audio, dtype=np.float32), rate_hz)


def _ambience_gain(
    recipe: Recipe, voice: Audio, bed: Audio, mask: NDArray[np.bool_], max_gain_db: float
) -> float:
    spoken, around = energy(voice, mask), energy(bed, mask)
    pair = f"{recipe['speech']['clip_id']} over {recipe['ambience']['clip_id']}"
    if spoken == 0.0 or around == 0.0:
        silent = "speech" if spoken == 0.0 else "ambience"
        raise Rejected("level_off", f"{pair}: the {silent} is silent where there is speech")
    factor = math.sqrt(spoken / around) / gain(recipe["requested_snr_db"])
    if db(factor) > max_gain_db:
        raise Rejected(
            "level_off",
            f"{pair}: the ambience would need {db(factor):.1f} dB of gain, more than "
            f"max_ambience_gain_db={max_gain_db:g}",
            {"gain_db": db(factor)},
        )
    return factor


def _mastered(recipe: Recipe, voice: Audio, bed: Audio, mask: NDArray[np.bool_]) -> Rendered:
    master, rate_hz = recipe["master"], recipe["rate_hz"]
    loudness = loudness_lufs(voice + bed, rate_hz)
    if loudness is None:
        raise Rejected("level_off", f"clip {recipe['speech']['clip_id']}: the mix is silent")
    level_db = master["loudness_lufs"] - loudness
    rendered = _at_level(voice, bed, level_db, mask, rate_hz)
    # A stem may peak above the mix where the other cancels it, and must not clip either.
    stems = np.abs(rendered.speech_stem).max(), np.abs(rendered.ambience_stem).max()
    peak_db = max(rendered.measures.true_peak_dbtp, db(float(max(stems))))
    if peak_db > master["true_peak_dbtp"]:
        # Quantising moves a peak by less than the margin, so once is enough.
        level_db -= peak_db - master["true_peak_dbtp"] + PEAK_MARGIN_DB
        rendered = _at_level(voice, bed, level_db, mask, rate_hz)
    return rendered


def _at_level(
    voice: Audio, bed: Audio, level_db: float, mask: NDArray[np.bool_], rate_hz: int
) -> Rendered:
    """The stems with one gain, quantised, summed and measured."""
    speech_stem, ambience_stem = _quantised(voice, level_db), _quantised(bed, level_db)
    mix: Audio = np.add(speech_stem, ambience_stem)
    loudness, peak_db = loudness_lufs(mix, rate_hz), true_peak_dbtp(mix, rate_hz)
    measures = Measures(
        achieved_snr_db=_rounded(snr_db(speech_stem, ambience_stem, mask)),
        loudness_lufs=_rounded(-math.inf if loudness is None else loudness),
        true_peak_dbtp=_rounded(-math.inf if peak_db is None else peak_db),
        sum_error=float(np.max(np.abs(mix - speech_stem - ambience_stem))),
    )
    return Rendered(mix, speech_stem, ambience_stem, measures)


def _quantised(audio: Audio, level_db: float) -> Audio:
    """Sound (C, T) at a level, on the grid of 16-bit samples but not cut to their range."""
    steps: Audio = np.multiply(audio, gain(level_db) * FULL_SCALE, dtype=np.float32)
    return np.rint(steps) * np.float32(1 / FULL_SCALE)


def require_levels(measures: Measures, recipe: Recipe, config: MixConfig) -> None:
    """Raises Rejected("level_off") where a measured level is not what was asked for."""
    asked = recipe["master"]
    checks = (
        ("SNR (dB)", measures.achieved_snr_db, recipe["requested_snr_db"], config.tolerance_db),
        (
            "loudness (LUFS)",
            measures.loudness_lufs,
            asked["loudness_lufs"],
            config.loudness_tolerance_lu,
        ),
    )
    wrong = [
        f"{name} is {value:.2f} and {wanted:.2f} was asked, tolerance {tolerance:g}"
        for name, value, wanted, tolerance in checks
        if not abs(value - wanted) <= tolerance
    ]
    if measures.true_peak_dbtp > asked["true_peak_dbtp"]:
        wrong.append(f"the true peak is {measures.true_peak_dbtp:.2f} dBTP")
    if wrong:
        raise Rejected(
            "level_off",
            f"{recipe['speech']['clip_id']} over {recipe['ambience']['clip_id']}: "
            + "; ".join(wrong),
            {"requested_snr_db": recipe["requested_snr_db"], **asdict(measures)},
        )


def flac_bytes(audio: Audio, rate_hz: int) -> bytes:
    """Sound (C, T) that lies on the 16-bit grid as the bytes of a FLAC file, without loss."""
    import soundfile

    sink = io.BytesIO()
    soundfile.write(sink, to_pcm16(audio.T), rate_hz, format="FLAC", subtype="PCM_16")
    return sink.getvalue()


STAGE = Stage(
    name="mix",
    title="mix speech and ambience",
    version=1,
    config=MixConfig,
    items="""
        WITH heard AS (
            SELECT w.clip_id, k.kind, p.split, w.start_s, w.end_s, w.duration_s, w.has_picture,
                   d.audio16_ref, d.audio_s, l.speech_spans, l.has_speech, l.speech_score,
                   l.silence_ratio
            FROM windows w
            JOIN kinds k USING (clip_id)
            JOIN listens l USING (clip_id)
            JOIN decodes d USING (source_id)
            JOIN splits p USING (source_id)
            WHERE k.kept AND d.audio16_ref IS NOT NULL
        ),
        speech AS (
            SELECT * FROM heard
            WHERE kind IN ('speech_on_screen', 'speech_off_screen') AND len(speech_spans) > 0
        ),
        ambience AS (
            SELECT * REPLACE (least(end_s, audio_s) AS end_s) FROM heard
            WHERE kind = 'sound' AND NOT has_speech
              AND speech_score <= $max_ambience_speech_score
              AND silence_ratio <= $max_ambience_silence
              AND least(end_s, audio_s) - start_s >= $min_ambience_s
        ),
        takes AS (SELECT unnest(range($mixtures_per_clip))::INTEGER AS take),
        pairs AS (
            SELECT s.clip_id AS speech_clip_id, t.take,
                   arg_min(a.clip_id, md5(concat_ws(':', $seed, s.clip_id, a.clip_id, t.take)))
                       AS ambience_clip_id
            FROM speech s JOIN ambience a ON a.split = s.split CROSS JOIN takes t
            GROUP BY s.clip_id, t.take
        )
        SELECT p.speech_clip_id || ':' || p.take AS item_id, p.take, s.split,
               s.clip_id AS speech_clip_id, s.kind AS speech_kind, s.start_s AS speech_start_s,
               s.end_s AS speech_end_s, s.audio16_ref AS speech_audio_ref, s.speech_spans,
               s.has_picture AS speech_has_picture,
               a.clip_id AS ambience_clip_id, a.start_s AS ambience_start_s,
               a.end_s AS ambience_end_s, a.audio16_ref AS ambience_audio_ref,
               a.has_picture AS ambience_has_picture,
               s.duration_s AS cost_s
        FROM pairs p
        JOIN speech s ON s.clip_id = p.speech_clip_id
        JOIN ambience a ON a.clip_id = p.ambience_clip_id
    """,
    outputs=(Output("mixtures", key="item_id"),),
    run=mix_shard,
)
