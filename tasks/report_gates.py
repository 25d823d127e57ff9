"""The gates in the report: what each removes, and where its threshold cuts through the scores."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from storage.catalog import Catalog
from tasks.gates import BY_NAME
from tasks.report_charts import Axis, nice_ticks, padded, percent

BINS = 32
HISTOGRAM_PX = 84
SIGNS = {"<": "<", "<=": "≤", ">": ">", ">=": "≥"}

RANGES = """
    SELECT gate, count(value) AS clips, count(*) - count(value) AS unmeasured,
           quantile_cont(value, 0.01) AS low, quantile_cont(value, 0.99) AS high
    FROM gate_checks GROUP BY gate
"""

HISTOGRAM = """
    SELECT bin, count(*) FILTER (passed IS NOT false) AS kept,
           count(*) FILTER (NOT passed) AS failed
    FROM (SELECT least(greatest(floor((value - $low) / ($high - $low) * $bins), 0), $bins - 1)
                 ::INTEGER AS bin, passed
          FROM gate_checks WHERE gate = $gate AND value IS NOT NULL)
    GROUP BY bin ORDER BY bin
"""


def gate_rows(catalog: Catalog) -> list[dict[str, Any]]:
    """The gates that were asked of clips, in order, each with the histogram of its measure.

    The rows of the view `gates`, with `title`, `sign`, `unit`, `unmeasured`, and `axis` and `bins`
    where there is anything to draw.
    """
    ranges = {row["gate"]: row for row in catalog.rows(RANGES)}
    rows = []
    for row in catalog.rows("SELECT * FROM gates ORDER BY position"):
        gate, measured = BY_NAME.get(row["gate"]), ranges[row["gate"]]
        named = {
            "title": gate.title if gate else row["gate"].replace("_", " ").capitalize(),
            "sign": SIGNS.get(gate.comparison, "") if gate else "",
            "unit": gate.unit if gate else "",
            "unmeasured": measured["unmeasured"],
            "axis": None,
            "bins": [],
        }
        if measured["clips"] and (gate is None or gate.field):
            axis = _axis(measured, row["threshold"], gate.span if gate else None)
            named["axis"] = axis
            values = {"gate": row["gate"], "low": axis[0], "high": axis[1], "bins": BINS}
            named["bins"] = catalog.rows(HISTOGRAM, values)
        rows.append(row | named)
    return rows


def _axis(measured: Mapping[str, Any], threshold: float | None, span: Axis | None) -> Axis:
    """What the histogram shows: the measure's own span, or round ends around data and threshold.

    What lies beyond, one clip in a hundred at each end, is counted in the outermost bins.
    """
    if span is not None:
        return span
    ends = [measured["low"], measured["high"], *([] if threshold is None else [threshold])]
    low, high = padded(ends)
    # A count or a ratio that is never negative begins at zero.
    low = max(low, 0.0) if min(ends) >= 0 else low
    first, second, *_ = nice_ticks(low, high, 9)
    step = second - first
    return step * math.floor(low / step), step * math.ceil(high / step)


def histogram_svg(
    bins: Sequence[Mapping[str, Any]], axis: Axis, threshold: float | None, title: str
) -> Markup:
    """Bars of clips over the axis, those that fail on top in another colour, and the threshold."""
    most = max((row["kept"] + row["failed"] for row in bins), default=1)
    parts = []
    for row in bins:
        below = 0.0
        for colour in ("kept", "failed"):
            if not row[colour]:
                continue
            # A single clip among thousands must still be seen.
            height = max(HISTOGRAM_PX * row[colour] / most, 2.0)
            parts.append(
                Markup(
                    '<rect class="{}" x="{}" width="{}" y="{:.1f}" height="{:.1f}"><title>{}'
                    "</title></rect>"
                ).format(
                    colour,
                    percent(row["bin"], BINS),
                    percent(0.86, BINS),
                    HISTOGRAM_PX - below - height,
                    height,
                    f"{row[colour]} {colour}",
                )
            )
            below += height
    place = None if threshold is None else percent(threshold - axis[0], axis[1] - axis[0])
    line = Markup("")
    if place is not None:
        line = Markup('<line class="threshold" x1="{x}" x2="{x}" y1="-6" y2="{y}"/>').format(
            x=place, y=HISTOGRAM_PX
        )
    return Markup(
        '<svg class="histogram" width="100%" height="{h}" role="img" aria-label="{title}">{bars}'
        '<line class="base" x1="0" x2="100%" y1="{h}" y2="{h}"/>{line}</svg>'
    ).format(h=HISTOGRAM_PX, title=title, bars=Markup("").join(parts), line=line)
