"""The report's section on mixtures, ready to print: charts, and cards with sound."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from storage.rejects import Rejected
from tasks.media import read_audio
from tasks.mix_regimes import REGIMES
from tasks.report_data import Row, file_name
from tasks.report_media import Inliner
from tasks.report_mixture_charts import ducking_svg, level_chart, levels_svg
from tasks.report_mixtures import MixedReport
from tasks.report_words import number, words

LEVEL_NAMES = {
    "snr_db": ("signal-to-noise ratio", "dB"),
    "loudness_difference_lu": ("loudness difference", "LU"),
}
PARTS = {
    "dry": "the speech before room and devices",
    "speech": "the speech as it is heard",
    "ambience": "the ambience under it",
    "mix": "the mix",
}
MODES = {
    "add": "add, ambience goes on under the speech",
    "insert": "insert, ambience stops for the speech",
}
STRIP_COLUMNS = 500
"""Columns of a spectrogram that is drawn beside its title in half of the page's width."""


def mixed_section(mixed: MixedReport, media: Inliner) -> Row | None:
    """What the template prints; None where there is no mixture."""
    if not mixed.totals["mixtures"]:
        return None
    return {
        "totals": mixed.totals,
        "levels": [_level(row, mixed) for row in mixed.levels],
        "levelless": [row for row in mixed.regimes if row["mixtures"] > row["levelled"]],
        "regimes": [_regime(row, mixed) for row in mixed.regimes],
        "devices": [row | {"name": _device_of_stem(row["device"])} for row in mixed.devices],
        "cards": [mixture_card(row, media) for row in mixed.cards],
    }


def _level(row: Row, mixed: MixedReport) -> Row:
    name, unit = LEVEL_NAMES[row["level"]]
    dots = [dot for dot in mixed.dots if dot["level"] == row["level"]]
    chart = level_chart(dots, name, unit)
    return row | {"name": name, "unit": unit, "chart": chart, "dots": len(dots)}


def _regime(row: Row, mixed: MixedReport) -> Row:
    regime = REGIMES.get(row["regime"])
    level = regime and regime.level
    counts = {one["bin"]: one["mixtures"] for one in mixed.bins if one["regime"] == row["regime"]}
    drawing = None
    if regime and level and counts:
        drawing = {
            "svg": levels_svg(counts, regime),
            "low": number(regime.low),
            "high": number(regime.high, 0, LEVEL_NAMES[level][1]),
        }
    unit = LEVEL_NAMES[level][1] if level else ""
    law = regime.law if regime else "no regime of this version"
    return row | {"law": law, "unit": unit, "drawing": drawing}


# -- a mixture to listen to ----------------------------------------------------------------------


def mixture_card(row: Row, media: Inliner) -> Row:
    """A row of `mixtures` with its parts as players and its recipe in words.

    Where its sound cannot be had, `why` says so and there are no parts.
    """
    recipe = json.loads(row["recipe"])
    card = row | {
        "title": _title(row),
        "parents": _parents(row),
        "facts": recipe_facts(recipe),
        "parts": [],
        "why": None,
    }
    try:
        sounds = mixture_sounds(media.workspace, row, recipe)
    except (OSError, Rejected, ValueError) as error:
        said = file_name(str(error)) if isinstance(error, OSError) else str(error)
        return card | {"why": f"This mixture could not be rendered: {said}"}
    overlay = _overlay(recipe)
    for name, audio in sounds.items():
        part = media.heard(audio, STRIP_COLUMNS)
        part |= {"title": name, "about": PARTS[name], "duration_s": row["duration_s"]}
        card["parts"].append(part | {"overlay": overlay if name == "ambience" else None})
    return card


def mixture_sounds(
    workspace: str, row: Mapping[str, Any], recipe: Mapping[str, Any]
) -> dict[str, NDArray[np.float32]]:
    """The sounds (T,) of a mixture by the names of `PARTS`, at the rate of the page.

    They are read where they are kept, and else rendered. What was said is among them where a room
    or a device changed it; the only stem of a mixture is the mix. Raises as `render_again` does.
    """
    from tasks.mix import render_again

    speech, ambience = recipe["speech"], recipe["ambience"]
    wanted = {
        "dry": speech and (speech["room"] or speech["devices"]),
        "speech": speech and ambience,
        "ambience": speech and ambience,
        "mix": True,
    }
    names = [name for name in PARTS if wanted[name]]
    rate_hz = recipe["rate_hz"]
    if all(row[f"{name}_ref"] for name in names):
        found = {
            name: read_audio(workspace, row[f"{name}_ref"], 0.0, row["duration_s"], rate_hz)
            for name in names
        }
    else:
        done = render_again(workspace, dict(row))
        found = {
            "dry": done.dry_stem,
            "speech": done.speech_stem,
            "ambience": done.ambience_stem,
            "mix": done.mix,
        }
    return {
        name: _at_page_rate(audio[0], rate_hz)
        for name in names
        if (audio := found[name]) is not None
    }


def _at_page_rate(audio: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    import soxr

    return audio if rate_hz == AUDIO_HZ else soxr.resample(audio, rate_hz, AUDIO_HZ)


def _overlay(recipe: dict[str, Any]) -> Any:
    from tasks.mix_sound import spans_in_mixture

    if recipe["ambience"] is None:
        return None
    ducking = recipe["ambience"]["ducking"]
    return ducking_svg(spans_in_mixture(recipe), recipe["duration_s"], ducking)


# -- the recipe in words -------------------------------------------------------------------------


def _title(row: Row) -> str:
    if row["requested_snr_db"] is not None:
        return f"SNR {number(row['requested_snr_db'], 1, 'dB')}"
    if row["requested_difference_lu"] is not None:
        return f"Speech {number(row['requested_difference_lu'], 1, 'LU')} above"
    return "Speech alone" if row["speech_clip_id"] else "Ambience alone"


def _parents(row: Row) -> str:
    names = (file_name(row["speech_uri"]), file_name(row["ambience_uri"]))
    return " over ".join(name for name in names if name)


def recipe_facts(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a recipe does, as pairs of a name and words."""
    speech, ambience = recipe["speech"], recipe["ambience"]
    facts = []
    if speech and ambience:
        modes = {
            "add": "ambience goes on under the speech",
            "insert": "ambience stops for the speech",
        }
        facts.append(("Mode", f"{recipe['mode']}, {modes[recipe['mode']]}"))
    if speech:
        facts.append(("Speech clip", f"begins at {number(speech['at_s'], 1, 's')}"))
        room = speech["room"]
        facts.append(("Room", f"T60 {number(room['t60_s'], 2, 's')}" if room else "none"))
        facts += _devices("Speech", speech["devices"])
    if ambience:
        looped = ambience["loop_s"]
        again = f", repeated every {number(looped, 1, 's')}" if looped is not None else ""
        facts.append(
            ("Ambience", f"from {number(ambience['offset_s'], 1, 's')} of its clip{again}")
        )
        facts += _devices("Ambience", ambience["devices"])
        if ducking := ambience["ducking"]:
            facts.append(
                (
                    "Ducking",
                    f"{number(-ducking['depth_db'], 1, 'dB')}, "
                    f"down in {number(ducking['attack_s'], 2, 's')} before the speech, "
                    f"back in {number(ducking['release_s'], 2, 's')}",
                )
            )
    return facts


def _devices(stem: str, devices: list[dict[str, Any]]) -> list[tuple[str, str]]:
    passed = ", ".join(_device(device) for device in devices)
    return [(f"{stem} through", passed)] if passed else []


def _device(device: Mapping[str, Any]) -> str:
    kind = words(device["kind"])
    if device["kind"] == "codec":
        return f"{device['codec'].upper()} at {device['kbps']} kbit/s"
    if device["kind"] == "clipping":
        return f"clipping {number(device['threshold_db'], 1, 'dB')} below the peak"
    if "low_hz" in device:
        return f"{kind} {number(device['low_hz'])} to {number(device['high_hz'], 0, 'Hz')}"
    return kind


def _device_of_stem(device: str) -> str:
    """`speech:band_limit` in words."""
    return words(device.replace(":", " "))
