"""Drawings of the report's section on mixtures: levels asked and achieved, laws, and ducking."""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from markupsafe import Markup

from tasks.ducking import CONTROL_HZ, ducking_curve_db
from tasks.mix_regimes import Regime
from tasks.report_charts import CHART_HEIGHT, SPAN_UNITS, along, chart_frame, down, padded, percent
from tasks.report_gates import HISTOGRAM_PX

STRIP_PX = 64
CURVE_TOP_PX, CURVE_FOOT_PX = 10, 48
"""Where on a strip the curve is at 0 dB, and where at its full depth."""
SPANS_PX = 56
"""Where on a strip the bars of speech begin."""


def level_chart(dots: Sequence[Mapping[str, Any]], name: str, unit: str) -> Markup:
    """Achieved over requested level, one dot a mixture, with the line where both are equal."""
    axis = padded([dot[end] for dot in dots for end in ("asked", "achieved")])
    marks = Markup("").join(
        Markup('<circle cx="{}" cy="{:.1f}" r="3.5"><title>{}</title></circle>').format(
            along(dot["asked"], axis),
            down(dot["achieved"], axis),
            f"{dot['asked']:.2f} {unit} asked, {dot['achieved']:.2f} achieved",
        )
        for dot in dots
    )
    line = Markup('<line class="equal" x1="0" x2="100%" y1="{}" y2="0"/>').format(CHART_HEIGHT)
    title = f"Requested against achieved {name} of {len(dots)} mixtures"
    ends = (f"requested {name}, {unit}", f"achieved {name}, {unit}")
    return chart_frame(axis, axis, line + marks, title, *ends)


def levels_svg(counts: Mapping[int, int], regime: Regime) -> Markup:
    """Bars of mixtures for each whole dB or LU of a regime's range, and its law as a line.

    What lies beyond the range by a hair counts in the outermost bars.
    """
    lows = range(int(regime.low), int(regime.high))
    made = dict.fromkeys(lows, 0)
    for low, count in counts.items():
        made[min(max(low, lows[0]), lows[-1])] += count
    total = sum(made.values())
    law = [total * law_share(regime, low) for low in lows]
    scale = HISTOGRAM_PX / max(*made.values(), *law, 1)
    bars = Markup("").join(
        Markup(
            '<rect class="kept" x="{}" width="{}" y="{:.1f}" height="{:.1f}"><title>{}</title>'
            "</rect>"
        ).format(
            percent(place, len(lows)),
            percent(0.86, len(lows)),
            HISTOGRAM_PX - max(scale * count, 2.0),
            max(scale * count, 2.0),
            f"{count} from {low} to {low + 1}",
        )
        for place, (low, count) in enumerate(made.items())
        if count
    )
    points = " ".join(
        f"{SPAN_UNITS * (place + 0.43) / len(lows):.1f},{HISTOGRAM_PX - scale * expected:.1f}"
        for place, expected in enumerate(law)
    )
    return Markup(
        '<svg class="histogram" width="100%" height="{h}" role="img" aria-label="{title}">{bars}'
        '<line class="base" x1="0" x2="100%" y1="{h}" y2="{h}"/>'
        '<svg width="100%" height="{h}" viewBox="0 0 {w} {h}" preserveAspectRatio="none">'
        '<polyline class="law" points="{points}"/></svg></svg>'
    ).format(
        h=HISTOGRAM_PX,
        w=SPAN_UNITS,
        title=f"Achieved levels of {total} mixtures of the regime {regime.name}",
        bars=bars,
        points=points,
    )


def law_share(regime: Regime, low: float, width: float = 1.0) -> float:
    """The share of a regime's law between a level and the one `width` above it."""
    if regime.mean is None:
        return width / (regime.high - regime.low)
    below = NormalDist(regime.mean, regime.deviation).cdf
    return (below(low + width) - below(low)) / (below(regime.high) - below(regime.low))


def ducking_svg(
    spans_s: Sequence[tuple[float, float]], duration_s: float, ducking: dict[str, Any] | None
) -> Markup:
    """What lies over the ambience's spectrogram: bars of speech, and the gain where it ducks."""
    bars = Markup("").join(
        Markup('<rect x="{:.1f}" width="{:.1f}" y="{}" height="{}"/>').format(
            SPAN_UNITS * start_s / duration_s,
            SPAN_UNITS * (end_s - start_s) / duration_s,
            SPANS_PX,
            STRIP_PX - SPANS_PX - 2,
        )
        for start_s, end_s in spans_s
    )
    curve = Markup("")
    if ducking:
        path = " ".join(
            f"{SPAN_UNITS * time_s / duration_s:.1f},"
            f"{CURVE_TOP_PX - (CURVE_FOOT_PX - CURVE_TOP_PX) * gain_db / ducking['depth_db']:.1f}"
            for time_s, gain_db in knees(spans_s, duration_s, ducking)
        )
        curve = Markup('<polyline class="under" points="{p}"/><polyline points="{p}"/>').format(
            p=path
        )
    return Markup(
        '<svg class="ducking" width="100%" height="{h}" viewBox="0 0 {w} {h}" aria-hidden="true" '
        'preserveAspectRatio="none">{bars}{curve}</svg>'
    ).format(h=STRIP_PX, w=SPAN_UNITS, bars=bars, curve=curve)


def knees(
    spans_s: Sequence[tuple[float, float]], duration_s: float, ducking: dict[str, Any]
) -> list[tuple[float, float]]:
    """The points (time in s, gain in dB) between which the ducking curve is straight."""
    curve_db = ducking_curve_db(spans_s, duration_s, ducking)
    bends = 1 + np.flatnonzero(np.abs(np.diff(curve_db, 2)) > 1e-9)
    places = [0, *bends.tolist(), len(curve_db) - 1]
    return [(place / CONTROL_HZ, float(curve_db[place])) for place in places]
