"""Drawings of the report that carry text: time lines, charts and the funnel as inline SVG.

An SVG here has no viewBox: places along the time axis are percentages of its width and heights are
pixels, so a drawing follows the page's width while its letters keep their size. Only shapes
without text lie in a stretched inner SVG.

Legend: T samples of audio, float32 in [-1, 1].
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

SPAN_UNITS = 1000
WAVE_HEIGHT = 56
CHART_HEIGHT = 240
WORD_ROW_PX, SYMBOL_ROW_PX = 24, 18
# Advance of 12 px letters in wide system fonts: narrower ones only leave more air.
WORD_LETTER_PX, SYMBOL_LETTER_PX = 7.0, 8.0
TASKS = ("all", "v2s", "visual_tts", "tts", "mixture")
TASK_TITLES = {
    "all": "all tasks",
    "v2s": "sound with video",
    "visual_tts": "speech with video",
    "tts": "speech only",
    "mixture": "mixtures",
}

Axis = tuple[float, float]
"""The lowest and the highest value that an axis shows."""


# -- the time line of a clip ---------------------------------------------------------------------


def percent(value: float, whole: float) -> str:
    """A place on an axis as an SVG percentage, kept inside it."""
    return f"{100 * min(max(value / whole if whole else 0.0, 0.0), 1.0):.3f}%"


def mel_ticks() -> list[tuple[str, str]]:
    """Labels in kHz with their height in percent, on the Slaney mel axis up to 8 kHz."""
    top = _slaney_mel(8000.0)
    return [(f"{hz / 1000:g}", percent(_slaney_mel(hz), top)) for hz in (500, 1000, 2000, 4000)]


def _slaney_mel(hz: float) -> float:
    return 3 * hz / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def waveform_svg(
    audio: NDArray[np.float32], duration_s: float, spans: Iterable[Mapping[str, float]] = ()
) -> Markup:
    """The waveform of samples (T,) with shaded spans of speech."""
    shades = Markup("").join(
        Markup('<rect class="span" x="{}" y="0" width="{}" height="{}"/>').format(
            percent(span["start_s"], duration_s),
            percent(span["end_s"] - span["start_s"], duration_s),
            WAVE_HEIGHT,
        )
        for span in spans
    )
    return Markup(
        '<svg class="wave" width="100%" height="{h}" aria-hidden="true">{shades}'
        '<line class="axis" x1="0" x2="100%" y1="{mid}" y2="{mid}"/>'
        '<svg width="100%" height="{h}" viewBox="0 -1 {w} 2" preserveAspectRatio="none">'
        '<path d="{path}"/></svg></svg>'
    ).format(h=WAVE_HEIGHT, mid=WAVE_HEIGHT / 2, shades=shades, w=SPAN_UNITS, path=_envelope(audio))


def _envelope(audio: NDArray[np.float32], columns: int = 700) -> str:
    """A closed path around the extremes of samples (T,), drawn to 0.95 of the height."""
    if not len(audio):
        return ""
    columns = min(columns, len(audio))
    starts = np.linspace(0, len(audio), columns, endpoint=False).astype(int)
    high = np.maximum.reduceat(audio, starts)
    low = np.minimum.reduceat(audio, starts)
    scale = 0.95 / max(float(np.abs(audio).max()), 0.05)
    x = (np.arange(columns) + 0.5) * SPAN_UNITS / columns
    # A hair of height keeps silence visible as a line.
    there = [f"{a:.1f},{-b:.3f}" for a, b in zip(x, high * scale + 0.008, strict=True)]
    back = [f"{a:.1f},{-b:.3f}" for a, b in zip(x, low * scale - 0.008, strict=True)]
    return "M" + "L".join([*there, *reversed(back)]) + "Z"


def speech_svg(
    words: Sequence[Mapping[str, Any]],
    phonemes: Sequence[Mapping[str, Any]],
    duration_s: float,
    width_px: float,
) -> Markup:
    """Words, and below them phonemes, at their times.

    Labels that would touch at `width_px` step down a row: words have two rows, phonemes three.
    """
    texts = [word["word"].strip() for word in words]
    word_rows = label_rows(words, texts, duration_s, width_px, WORD_LETTER_PX, 2)
    top = WORD_ROW_PX * (1 + max(word_rows, default=0)) + 6
    symbols = [phoneme["phoneme"] for phoneme in phonemes]
    symbol_rows = label_rows(phonemes, symbols, duration_s, width_px, SYMBOL_LETTER_PX, 3)
    height = top + (SYMBOL_ROW_PX * (1 + max(symbol_rows, default=0)) if phonemes else 0)
    parts = [
        _word_svg(*drawn, duration_s, width_px)
        for drawn in zip(words, texts, word_rows, strict=True)
    ]
    parts += [
        _phoneme_svg(*drawn, top, duration_s) for drawn in zip(phonemes, symbol_rows, strict=True)
    ]
    return Markup(
        '<svg class="speech" width="100%" height="{}" role="img" aria-label="{}">{}</svg>'
    ).format(
        height,
        f"{len(words)} words and {len(phonemes)} phonemes at their times",
        Markup("").join(parts),
    )


def label_rows(
    spans: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    duration_s: float,
    width_px: float,
    letter_px: float,
    most: int,
) -> list[int]:
    """The row of each label, from 0: the first where it fits beside the last, else the emptiest."""
    ends = [-math.inf] * most
    rows = []
    for span, text in zip(spans, texts, strict=True):
        middle_px = width_px * (span["start_s"] + span["end_s"]) / 2 / duration_s
        half_px = letter_px * len(text) / 2 + 2
        free = [row for row in range(most) if ends[row] <= middle_px - half_px]
        row = free[0] if free else ends.index(min(ends))
        ends[row] = middle_px + half_px
        rows.append(row)
    return rows


def _word_svg(
    word: Mapping[str, Any], text: str, row: int, duration_s: float, width_px: float
) -> Markup:
    start_s, end_s = word["start_s"], word["end_s"]
    middle = (start_s + end_s) / 2 / duration_s
    over = middle + WORD_LETTER_PX * len(text) / 2 / width_px > 1
    sure = "times interpolated" if word["score"] is None else f"score {100 * word['score']:.0f} %"
    return Markup(
        '<g class="word" data-start="{s:.3f}" data-end="{e:.3f}"><title>{title}</title>'
        '<rect x="{x}" y="{y}" width="{w}" height="{h}"/>'
        '<text class="{place}" x="{mid}" y="{line}">{text}</text></g>'
    ).format(
        place="last" if over else "inner",
        s=start_s,
        e=end_s,
        title=f"{text}: {start_s:.2f} to {end_s:.2f} s, {sure}",
        x=percent(start_s, duration_s),
        y=WORD_ROW_PX * row + 2,
        w=percent(end_s - start_s, duration_s),
        h=WORD_ROW_PX - 2,
        mid=percent(1.0 if over else middle, 1.0),
        line=WORD_ROW_PX * row + 17,
        text=text,
    )


def _phoneme_svg(phoneme: Mapping[str, Any], row: int, top: int, duration_s: float) -> Markup:
    start_s, end_s = phoneme["start_s"], phoneme["end_s"]
    return Markup(
        '<g class="phoneme{stress}" data-start="{s:.3f}" data-end="{e:.3f}"><title>{title}</title>'
        '<line x1="{x}" x2="{x}" y1="{top}" y2="{foot}"/><text x="{mid}" y="{y}">{text}</text></g>'
    ).format(
        stress=" stressed" if phoneme["stressed"] else "",
        s=start_s,
        e=end_s,
        title=f"{phoneme['phoneme']}: {start_s:.2f} to {end_s:.2f} s",
        x=percent(start_s, duration_s),
        top=top,
        foot=top + SYMBOL_ROW_PX * (row + 1) - 2,
        mid=percent((start_s + end_s) / 2, duration_s),
        y=top + SYMBOL_ROW_PX * row + 13,
        text=phoneme["phoneme"],
    )


def time_axis_svg(duration_s: float, labels: int = 10) -> Markup:
    """Ticks and labels in seconds along the width."""
    ticks = [t for t in nice_ticks(0.0, duration_s, labels) if t <= 0.97 * duration_s]
    parts = [
        Markup(
            '<line x1="{x}" x2="{x}" y1="0" y2="4"/><text class="{place}" x="{x}" y="15">{t}</text>'
        ).format(
            x=percent(t, duration_s),
            place="inner" if t else "first",
            t=f"{t:g}" if t else "0 s",
        )
        for t in ticks
    ]
    return Markup('<svg class="time" width="100%" height="18" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


# -- charts --------------------------------------------------------------------------------------


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) inside [low, high], at most `most`."""
    if not high > low:
        return [low]
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def padded(values: Sequence[float], share: float = 0.06) -> Axis:
    """An axis that holds all values with some air; never of zero length."""
    low, high = min(values), max(values)
    air = share * (high - low) or max(abs(high), 1.0) * share
    return low - air, high + air


def chart_frame(x: Axis, y: Axis, inner: Markup, title: str, x_unit: str, y_unit: str) -> Markup:
    """A chart of one plot area: grid lines, labels with units, and what is drawn inside."""
    height = CHART_HEIGHT
    rows, columns = nice_ticks(*y), nice_ticks(*x)
    y_labels = Markup("").join(
        Markup('<text x="100%" dx="-8" y="{:.1f}" dy="4">{}</text>').format(down(t, y), f"{t:g}")
        for t in rows
    )
    grid = Markup("").join(
        Markup('<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>').format(
            y=down(t, y)
        )
        for t in rows
    )
    x_labels = Markup("").join(
        Markup('<text x="{}" y="{}">{}</text>').format(along(t, x), height + 18, f"{t:g}")
        for t in columns
    )
    return Markup(
        '<div class="chart"><p class="unit">{y_unit}</p>'
        '<svg class="y-labels" width="48" height="{full}" aria-hidden="true">{y_labels}</svg>'
        '<svg class="plot" width="100%" height="{full}" role="img" aria-label="{title}">'
        '{grid}{inner}<line class="base" x1="0" x2="100%" y1="{h}" y2="{h}"/>{x_labels}</svg>'
        '<p class="unit right">{x_unit}</p></div>'
    ).format(
        y_unit=y_unit,
        x_unit=x_unit,
        full=height + 24,
        h=height,
        title=title,
        grid=grid,
        inner=inner,
        y_labels=y_labels,
        x_labels=x_labels,
    )


def along(value: float, axis: Axis) -> str:
    """The place of a value on the horizontal axis of a chart."""
    return percent(value - axis[0], axis[1] - axis[0])


def down(value: float, axis: Axis) -> float:
    """The place of a value on the vertical axis of a chart, in pixels from its top."""
    return CHART_HEIGHT * (1 - (value - axis[0]) / (axis[1] - axis[0]))


def loss_chart(losses: Sequence[Mapping[str, Any]]) -> Markup:
    """Loss over steps: one line a task and one for all, with the changes of phase marked."""
    x = (0.0, float(max(point["step"] for point in losses)))
    y = padded([point["loss"] for point in losses])
    lines = []
    for task in reversed(TASKS):
        points = [
            f"{SPAN_UNITS * p['step'] / x[1]:.1f},{down(p['loss'], y):.1f}"
            for p in losses
            if p["task"] == task
        ]
        lines.append(
            Markup('<polyline class="line task-{}" points="{}"/>').format(task, " ".join(points))
        )
    inner = Markup(
        '{boundary}<svg width="100%" height="{h}" viewBox="0 0 {w} {h}" '
        'preserveAspectRatio="none">{lines}</svg>'
    ).format(
        boundary=_phase_boundaries(losses, x),
        h=CHART_HEIGHT,
        w=SPAN_UNITS,
        lines=Markup("").join(lines),
    )
    title = f"Training loss over {x[1]:.0f} steps"
    return chart_frame(x, y, inner, title, "optimiser step", "flow-matching loss")


def _phase_boundaries(losses: Sequence[Mapping[str, Any]], x: Axis) -> Markup:
    """A line where each phase ends, named after those on its sides, each of them once."""
    phases = list(dict.fromkeys(point["phase"] for point in losses))
    marks = []
    for number, (before, after) in enumerate(itertools.pairwise(phases)):
        place = along(max(point["step"] for point in losses if point["phase"] == before), x)
        sides = [("right", 7, after)] if number else [("left", -7, before), ("right", 7, after)]
        line = Markup('<line class="phase" x1="{x}" x2="{x}" y1="0" y2="{h}"/>')
        text = Markup('<text class="phase-{}" x="{}" dx="{}" y="12">{}</text>')
        marks.append(line.format(x=place, h=CHART_HEIGHT))
        marks += [text.format(side, place, dx, name.replace("_", " ")) for side, dx, name in sides]
    return Markup("").join(marks)


def interval_svg(value: float, low: float, high: float, axis: Axis) -> Markup:
    """A mean with its interval on an axis that the rows of a table share."""
    return Markup(
        '<svg class="interval" width="100%" height="16" aria-hidden="true">'
        '<line x1="{}" x2="{}" y1="8" y2="8"/><circle cx="{}" cy="8" r="3.5"/></svg>'
    ).format(along(low, axis), along(high, axis), along(value, axis))


def funnel_svg(share: float, next_share: float | None) -> Markup:
    """A bar as wide as its share of the funnel's mouth, over the slope to the next bar."""
    left, right = 500 - 500 * share, 500 + 500 * share
    step = Markup(
        '<svg class="step" width="100%" height="28" viewBox="0 0 1000 1" aria-hidden="true" '
        'preserveAspectRatio="none"><rect x="{:.1f}" width="{:.1f}" height="1"/></svg>'
    ).format(min(left, 499.0), max(right - left, 2.0))
    if next_share is None:
        return step
    return step + Markup(
        '<svg class="slope" width="100%" viewBox="0 0 1000 1" aria-hidden="true" '
        'preserveAspectRatio="none"><path d="M{:.1f},0H{:.1f}L{:.1f},1H{:.1f}Z"/></svg>'
    ).format(left, right, 500 + 500 * next_share, 500 - 500 * next_share)


def bar(share: float) -> Markup:
    """A thin bar for a share in [0, 1], to stand beside its number in a table."""
    return Markup(
        '<svg class="bar" width="100%" height="6" aria-hidden="true">'
        '<rect class="track" width="100%" height="6" rx="3"/>'
        '<rect width="{}" height="6" rx="3"/></svg>'
    ).format(percent(share, 1.0))
