"""Render a recipe: the stems of speech and ambience at their levels, and the mix as their sum.

The same recipe and the same sound give the same samples, whatever else is rendered before, beside
or after. Stems are quantised to 16 bits before they are measured, and the mix is the sum of the
quantised stems, so it equals them exactly.

Audio is float32 in [-1, 1], shape (C, T): C channels, T samples.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import count, index
from storage.rejects import Rejected
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
from tasks.media import FULL_SCALE, to_pcm16
from tasks.mix_plan import Recipe, rounded

PEAK_MARGIN_DB = 0.01


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
        achieved_snr_db=rounded(snr_db(speech_stem, ambience_stem, mask)),
        loudness_lufs=rounded(-math.inf if loudness is None else loudness),
        true_peak_dbtp=rounded(-math.inf if peak_db is None else peak_db),
        sum_error=float(np.max(np.abs(mix - speech_stem - ambience_stem))),
    )
    return Rendered(mix, speech_stem, ambience_stem, measures)


def _quantised(audio: Audio, level_db: float) -> Audio:
    """Sound (C, T) at a level, on the grid of 16-bit samples but not cut to their range."""
    steps: Audio = np.multiply(audio, gain(level_db) * FULL_SCALE, dtype=np.float32)
    return np.rint(steps) * np.float32(1 / FULL_SCALE)


def flac_bytes(audio: Audio, rate_hz: int) -> bytes:
    """Sound (C, T) that lies on the 16-bit grid as the bytes of a FLAC file, without loss."""
    import soundfile

    sink = io.BytesIO()
    soundfile.write(sink, to_pcm16(audio.T), rate_hz, format="FLAC", subtype="PCM_16")
    return sink.getvalue()
