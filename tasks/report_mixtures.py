"""What the report tells of mixtures: what was asked, what came of it, and ten to listen to."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.catalog import Catalog
from tasks.mix_regimes import REGIMES, WEIGHTS

Row = dict[str, Any]

MAX_CARDS = 10
MAX_DOTS = 1000
WORST_DOTS = 100
"""Of a chart's dots, those that are furthest off and are drawn however many mixtures there are."""
CANDIDATES = 60
"""Of each regime, how many mixtures the ten are chosen from."""
LEVELLESS_TURNS = 3
"""A regime without a level is heard in one turn of three."""


@dataclass(frozen=True, slots=True)
class MixedReport:
    """Rows for the report's section on mixtures.

    Attributes:
        totals: one row over all mixtures: how many, ranges of what was measured and drawn.
        levels: for each level that is asked for, how many mixtures ask and how far off they are.
        dots: asked and achieved levels, the furthest off and an even choice of the rest.
        regimes: one row for each that is asked for or made, with the shares of both.
        bins: how many mixtures of a regime have an achieved level in each whole dB or LU.
        devices: what stems passed through, and how many.
        rejects: why items of the stage were left out, and how many.
        cards: the mixtures to listen to.
    """

    totals: Row
    levels: list[Row]
    dots: list[Row]
    regimes: list[Row]
    bins: list[Row]
    devices: list[Row]
    rejects: list[Row]
    cards: list[Row]


def mixed_report(catalog: Catalog, dataset_id: str, run_recipe: str | None = None) -> MixedReport:
    """What the section shows; members of the dataset are heard before others.

    Args:
        catalog: open for reading.
        dataset_id: the dataset that the page is about.
        run_recipe: the recipe of its build as JSON, which says the shares of the regimes.
    """
    regimes = catalog.rows(MADE_REGIMES)
    chosen = spread(catalog.rows(CANDIDATE_MIXTURES, [dataset_id, CANDIDATES]))
    cards = catalog.rows(CARDS, [chosen])
    return MixedReport(
        totals=catalog.rows(TOTALS)[0],
        levels=catalog.rows(LEVELS),
        dots=catalog.rows(DOTS, [WORST_DOTS, MAX_DOTS - WORST_DOTS]),
        regimes=with_shares(regimes, asked_weights(run_recipe)),
        bins=catalog.rows(BINS),
        devices=catalog.rows(DEVICES),
        rejects=catalog.rows(MIX_REJECTS),
        cards=sorted(cards, key=lambda row: (_place(row["regime"]), chosen.index(row["mix_id"]))),
    )


def asked_weights(run_recipe: str | None) -> dict[str, float]:
    """The weight of each regime in a build's recipe; the usual ones where it says nothing."""
    section = json.loads(run_recipe or "{}").get("mix") or {}
    return section.get("regimes") or WEIGHTS


def with_shares(made: Sequence[Row], weights: Mapping[str, float]) -> list[Row]:
    """Rows of regimes with the shares that were asked and made; those that nothing came of too."""
    rows = {row["regime"]: row for row in made}
    names = {name for name, weight in weights.items() if weight > 0} | set(rows)
    asked, total = sum(weights.values()), sum(row["mixtures"] for row in made)
    nothing = {"mixtures": 0, "duration_s": 0.0, "levelled": 0, "usual": None, "worst": None}
    return [
        nothing
        | {"regime": name}
        | rows.get(name, {})
        | {
            "asked_share": weights.get(name, 0.0) / asked,
            "made_share": rows[name]["mixtures"] / total if name in rows else 0.0,
        }
        for name in sorted(names, key=lambda name: (_place(name), name))
    ]


def spread(candidates: Sequence[Row], most: int = MAX_CARDS) -> list[str]:
    """Ids of mixtures that differ: regimes take turns, each with the ambience least heard so far.

    Members of the dataset come before others. The same candidates in the same order give the same
    choice.
    """
    waiting: dict[str, list[Row]] = {}
    for row in sorted(candidates, key=lambda row: _place(row["regime"])):
        waiting.setdefault(row["regime"], []).append(row)
    heard: Counter[str | None] = Counter()
    chosen: list[str] = []
    turn = 0
    while len(chosen) < most and any(waiting.values()):
        for name, rows in waiting.items():
            regime = REGIMES.get(name)
            rests = regime is not None and regime.level is None and turn % LEVELLESS_TURNS
            if not rows or rests or len(chosen) == most:
                continue
            best = min(rows, key=lambda row: (row["outside"], *(heard[row[k]] for k in HEARD_OF)))
            rows.remove(best)
            chosen.append(best["mix_id"])
            heard.update(best[key] for key in HEARD_OF if best[key] is not None)
        turn += 1
    return chosen


HEARD_OF = ("ambience_tag", "ambience_clip_id", "speech_clip_id")
"""What should differ between the mixtures to listen to, the most important first."""


def _place(regime: str) -> int:
    names = list(REGIMES)
    return names.index(regime) if regime in names else len(names)


_LEVELLED = """
    SELECT mix_id, regime, 'snr_db' AS level, requested_snr_db AS asked, achieved_snr_db AS achieved
    FROM mixtures WHERE requested_snr_db IS NOT NULL
    UNION ALL
    SELECT mix_id, regime, 'loudness_difference_lu', requested_difference_lu, achieved_difference_lu
    FROM mixtures WHERE requested_difference_lu IS NOT NULL
"""

LEVELS = f"""
    SELECT level, count(*) AS mixtures, quantile_cont(abs(achieved - asked), 0.95) AS usual,
           max(abs(achieved - asked)) AS worst
    FROM ({_LEVELLED}) GROUP BY level ORDER BY level DESC
"""

DOTS = f"""
    SELECT level, asked, achieved FROM ({_LEVELLED})
    QUALIFY row_number() OVER (PARTITION BY level
                               ORDER BY abs(achieved - asked) DESC, mix_id) <= $1
         OR row_number() OVER (PARTITION BY level ORDER BY mix_id) <= $2
    ORDER BY level, mix_id
"""

MADE_REGIMES = f"""
    SELECT m.regime, count(*) AS mixtures, sum(duration_s) AS duration_s,
           count(l.asked) AS levelled, quantile_cont(abs(l.achieved - l.asked), 0.95) AS usual,
           max(abs(l.achieved - l.asked)) AS worst
    FROM mixtures m LEFT JOIN ({_LEVELLED}) l USING (mix_id) GROUP BY m.regime
"""

BINS = f"""
    SELECT regime, floor(achieved)::INTEGER AS bin, count(*) AS mixtures
    FROM ({_LEVELLED}) WHERE achieved IS NOT NULL GROUP BY regime, bin ORDER BY regime, bin
"""

TOTALS = """
    SELECT count(*) AS mixtures, count(*) FILTER (requested_snr_db IS NULL
                                                  AND requested_difference_lu IS NULL) AS levelless,
           max(true_peak_dbtp) AS peak_dbtp, min(loudness_lufs) AS quietest_lufs,
           max(loudness_lufs) AS loudest_lufs, max(sum_error) AS sum_error,
           count(room_id) AS in_rooms, count(DISTINCT room_id) AS rooms,
           min(t60_s) AS least_t60_s, max(t60_s) AS most_t60_s,
           count(*) FILTER (mode = 'add') AS added, count(*) FILTER (mode = 'insert') AS inserted,
           count(ducking_db) AS ducked, min(ducking_db) AS least_ducking_db,
           max(ducking_db) AS most_ducking_db, count(*) FILTER (len(devices) > 0) AS damaged,
           count(*) FILTER (mix_ref IS NULL) AS recipes_only
    FROM mixtures
"""

DEVICES = """
    SELECT device, count(*) AS mixtures FROM (SELECT unnest(devices) AS device FROM mixtures)
    GROUP BY device ORDER BY mixtures DESC, device
"""

MIX_REJECTS = """
    SELECT reason, count(*) AS mixtures FROM rejects WHERE stage = 'mix'
    GROUP BY reason ORDER BY mixtures DESC, reason
"""

CANDIDATE_MIXTURES = """
    WITH members AS (
        SELECT m.mix_id, m.regime, m.speech_clip_id, m.ambience_clip_id,
               d.item_id IS NULL AS outside
        FROM mixtures m LEFT JOIN dataset_items d ON d.dataset_id = $1 AND d.item_id = m.mix_id),
    turns AS (
        SELECT *, row_number() OVER (PARTITION BY regime, outside, ambience_clip_id
                                     ORDER BY mix_id) AS turn
        FROM members)
    SELECT t.mix_id, t.regime, t.outside, t.speech_clip_id, t.ambience_clip_id,
           l.top_tag AS ambience_tag
    FROM turns t LEFT JOIN listens l ON l.clip_id = t.ambience_clip_id
    QUALIFY row_number() OVER (PARTITION BY t.regime ORDER BY outside, turn, mix_id) <= $2
    ORDER BY outside, turn, mix_id
"""

CARDS = """
    SELECT m.*, sp.uri AS speech_uri, am.uri AS ambience_uri, am.top_tag AS ambience_tag, sp.text
    FROM mixtures m
    LEFT JOIN clips sp ON sp.clip_id = m.speech_clip_id
    LEFT JOIN clips am ON am.clip_id = m.ambience_clip_id
    WHERE m.mix_id IN (SELECT unnest($1))
"""
