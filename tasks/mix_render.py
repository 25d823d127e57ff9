"""Render a recipe: the stems of speech and ambience at their levels, and the mix as their sum.

The same recipe and the same sound give the same samples, whatever else is rendered before, beside
or after. Stems are quantised to 16 bits before they are measured, and the mix is the sum of the
quantised stems, so it equals them exactly.

Audio is float32 in [-1, 1], shape (C, T): C channels, T samples.
"""

import hashlib
import io
import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from storage.rejects import Rejected
from tasks.draws import rounded
from tasks.levels import Audio, db, gain, power
from tasks.loudness import gated_lufs, hop_sums, true_peak_dbtp
from tasks.media import FULL_SCALE, to_pcm16
from tasks.mix_plan import Recipe
from tasks.mix_sound import Stems, lay

PEAK_MARGIN_DB = 0.01
SETTLED_DB = 1e-4
MAX_TURNS = 50


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured on the stems as they are stored, not what was asked for.

    Attributes:
        achieved_snr_db: mean power of the speech on its active frames over that of the ambience
            there, or, where the ambience is silenced under the speech, over that of the rest; None
            where there is no speech or no ambience.
        achieved_difference_lu: loudness of the speech over that of the ambience; None likewise, and
            where one of them is too quiet to have a loudness.
        speech_lufs: loudness of the speech; None where there is none.
        ambience_lufs: loudness of the ambience; None where there is none.
        loudness_lufs: loudness of the mix.
        true_peak_dbtp: true peak of the mix.
        sum_error: largest |mix - speech - ambience|, full scale being 1.
    """

    achieved_snr_db: float | None
    achieved_difference_lu: float | None
    speech_lufs: float | None
    ambience_lufs: float | None
    loudness_lufs: float
    true_peak_dbtp: float
    sum_error: float


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished mixture: float32 (C, T) on the grid of 16-bit samples, and its measures.

    A stem that the regime leaves out is silent. `dry_stem` is the speech before room and devices
    at the gain of the speech, and None where it has neither.
    """

    mix: Audio
    speech_stem: Audio
    ambience_stem: Audio
    dry_stem: Audio | None
    measures: Measures

    def sha256(self) -> str:
        """The hash of the 16-bit samples of mix, speech and ambience."""
        digest = hashlib.sha256()
        for audio in (self.mix, self.speech_stem, self.ambience_stem):
            digest.update(to_pcm16(audio).tobytes())
        return digest.hexdigest()


def render(
    recipe: Recipe,
    speech: Audio | None,
    ambience: Audio | None,
    response: Audio | None = None,
    max_ambience_gain_db: float = 40.0,
) -> Rendered:
    """The mixture of a recipe, from its parents' sound (C, T) at the recipe's rate.

    The ambience gets the one gain that gives the requested SNR or loudness difference, and all
    stems get the one gain that gives the requested loudness, lowered where the true peak would be
    too high.

    Args:
        recipe: as `plan_recipe` makes it.
        speech: the clip that the recipe names; None where it has no speech.
        ambience: the clip that the recipe names; None where it has no ambience.
        response: the room's impulse response (T,); None where the recipe has no room.
        max_ambience_gain_db: ambience that needs more is rejected.

    Raises Rejected("no_speech") where no frame is active, and Rejected("level_off") where a parent
    is silent where it is needed or the ambience needs more gain than allowed.
    """
    stems = lay(recipe, speech, ambience, response)
    level_db, ambience_db = _gains_db(recipe, stems)
    if recipe["speech"] and recipe["ambience"] and ambience_db > max_ambience_gain_db:
        raise Rejected(
            "level_off",
            f"{named(recipe)}: the ambience would need {ambience_db:.1f} dB of gain, more than "
            f"max_ambience_gain_db={max_ambience_gain_db:g}",
            {"gain_db": ambience_db},
        )
    rendered = _at_levels(recipe, stems, level_db, ambience_db)
    # A stem may peak above the mix where the other cancels it, and must not clip either.
    heard = (rendered.speech_stem, rendered.ambience_stem, rendered.dry_stem)
    highest = max(float(np.abs(stem).max()) for stem in heard if stem is not None)
    peak_db = max(rendered.measures.true_peak_dbtp, db(highest))
    over_db = peak_db - recipe["master"]["true_peak_dbtp"]
    if over_db <= 0:
        return rendered
    # Quantising moves a peak by less than the margin, so once is enough.
    return _at_levels(recipe, stems, level_db - over_db - PEAK_MARGIN_DB, ambience_db)


def named(recipe: Recipe) -> str:
    """The parents of a recipe, for messages."""
    clips = [recipe[parent]["clip_id"] for parent in ("speech", "ambience") if recipe[parent]]
    return " over ".join(clips)


def _gains_db(recipe: Recipe, stems: Stems) -> tuple[float, float]:
    """The gain of all stems, and that of the ambience before it, in dB.

    Both follow from K-weighted sums that are taken once. What is under -70 LUFS does not count in
    a loudness, so that a gain may change it by more than itself: the gains are settled in turns.
    """
    asked, rate_hz = recipe["requested"], recipe["rate_hz"]
    spoken, around = power(stems.voice, stems.spoken), power(stems.bed, stems.around)
    is_pair = recipe["speech"] is not None and recipe["ambience"] is not None
    if is_pair and (spoken == 0.0 or around == 0.0):
        silent = "speech" if spoken == 0.0 else "ambience"
        raise Rejected("level_off", f"{named(recipe)}: the {silent} is silent where it is needed")
    ambience_db = 0.0
    if asked["snr_db"] is not None:
        ambience_db = db(math.sqrt(spoken / around)) - asked["snr_db"]
    sums = hop_sums(stems.voice, stems.bed, rate_hz)
    level_db = 0.0
    for _ in range(MAX_TURNS):
        voice_lufs, bed_lufs, mix_lufs = _loudness(sums, level_db, ambience_db, rate_hz)
        if mix_lufs is None:
            mix_lufs = -70.0  # lift it until it can be heard by the meter
            if float(sums.max(initial=0.0)) == 0.0:
                raise Rejected("level_off", f"{named(recipe)}: the mix is silent")
        off_db = recipe["master"]["loudness_lufs"] - mix_lufs
        level_db += off_db
        apart_db = 0.0
        if asked["loudness_difference_lu"] is not None:
            lowest = -70.0
            apart_db = (voice_lufs or lowest) - (bed_lufs or lowest)
            apart_db -= asked["loudness_difference_lu"]
            ambience_db += apart_db
        if max(abs(off_db), abs(apart_db)) < SETTLED_DB:
            break
    return level_db, ambience_db


def _loudness(
    sums: NDArray[np.float64], level_db: float, ambience_db: float, rate_hz: int
) -> tuple[float | None, float | None, float | None]:
    """Loudness of speech, ambience and mix in LUFS at gains, from the sums of `hop_sums`."""
    voice, bed = gain(level_db), gain(level_db + ambience_db)
    mixed = voice**2 * sums[0] + 2 * voice * bed * sums[2] + bed**2 * sums[1]
    levels = (voice**2 * sums[0], bed**2 * sums[1], mixed)
    voice_lufs, bed_lufs, mix_lufs = (gated_lufs(level, rate_hz) for level in levels)
    return voice_lufs, bed_lufs, mix_lufs


def _at_levels(recipe: Recipe, stems: Stems, level_db: float, ambience_db: float) -> Rendered:
    """The stems at their gains, quantised, summed and measured."""
    rate_hz = recipe["rate_hz"]
    voice, bed = quantised(stems.voice, level_db), quantised(stems.bed, level_db + ambience_db)
    mix: Audio = np.add(voice, bed)
    voice_lufs, bed_lufs, mix_lufs = _loudness(hop_sums(voice, bed, rate_hz), 0.0, 0.0, rate_hz)
    peak_db = true_peak_dbtp(mix, rate_hz)
    spoken, around = power(voice, stems.spoken), power(bed, stems.around)
    measures = Measures(
        achieved_snr_db=rounded(10.0 * math.log10(spoken / around)) if spoken and around else None,
        achieved_difference_lu=_maybe(
            None if voice_lufs is None or bed_lufs is None else voice_lufs - bed_lufs
        ),
        speech_lufs=_maybe(voice_lufs),
        ambience_lufs=_maybe(bed_lufs),
        loudness_lufs=rounded(-math.inf if mix_lufs is None else mix_lufs),
        true_peak_dbtp=rounded(-math.inf if peak_db is None else peak_db),
        sum_error=float(np.max(np.abs(mix - voice - bed))),
    )
    dry = None if stems.dry is None else quantised(stems.dry, level_db)
    return Rendered(mix, voice, bed, dry, measures)


def _maybe(level: float | None) -> float | None:
    return None if level is None else rounded(level)


def quantised(audio: Audio, level_db: float) -> Audio:
    """Sound (C, T) at a level, on the grid of 16-bit samples but not cut to their range."""
    made = np.empty_like(audio, np.float32)
    steps = np.float32(gain(level_db) * FULL_SCALE)
    _on_grid(audio.reshape(-1), steps, np.float32(1 / FULL_SCALE), made.reshape(-1))
    return made


@numba.njit(cache=True, nogil=True)
def _on_grid(audio: Any, steps: Any, step: Any, made: Any) -> None:  # pragma: no cover
    for place in range(len(audio)):
        made[place] = np.rint(audio[place] * steps) * step


def flac_bytes(audio: Audio, rate_hz: int) -> bytes:
    """Sound (C, T) that lies on the 16-bit grid as the bytes of a FLAC file, without loss."""
    import soundfile

    sink = io.BytesIO()
    soundfile.write(sink, to_pcm16(audio.T), rate_hz, format="FLAC", subtype="PCM_16")
    return sink.getvalue()
