"""`talkies plan`: what a build would do, and what it would take, without writing anything."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows import console
from flows.pilot import run_pilot
from flows.progress import Progress
from flows.session import to_do
from tasks.forecast import Forecast, Span, draw, forecast, strata_of
from tasks.pipeline import BUILD, INGEST
from tasks.recipe import check_source, load_recipe
from tasks.scan import STAGE as SCAN
from tasks.scan import list_folder

# A file's length is not known before it was probed.
UNPROBED = frozenset(stage.name for stage in INGEST[:2])
HOUR_S = 3600.0
GIGABYTE = 1e9


def show_plan(
    recipe: Path,
    option: str | None,
    as_json: bool,
    workers: int | None,
    pilot_s: float,
    core_hour_price: float | None,
) -> None:
    """Prints what is pending, and after a pilot the forecast and the funnel."""
    workspace, as_json = console.workspace_of(option), console.wants_json(as_json)
    loaded = load_recipe(recipe)
    check_source(loaded)
    plans, new = to_do(workspace, loaded, BUILD)
    known_s = {plan.stage: plan.cost_s for plan in plans if plan.stage not in UNPROBED}
    rows: list[dict[str, Any]] = [
        {"stage": p.stage, "to do": p.items, "of": p.total_items, "gone": p.gone,
         "media minutes": round(p.cost_s / 60, 2) if p.stage in known_s else None}
        for p in plans
    ]  # fmt: skip
    if not as_json:
        console.say_rows(rows, title="to do")
    slots = console.workers_of(workers)
    found: Forecast | None = None
    if pilot_s and (new or any(known_s.values())):
        files = new or list_folder(loaded.configs[SCAN.name]).to_pylist()
        with Progress(as_json) as progress:
            tried = run_pilot(loaded, draw(strata_of(files)), pilot_s, slots, progress)
        found = forecast(tried, strata_of(new), known_s)
    if as_json:
        told = _as_data(found, slots, core_hour_price) if found else None
        console.say_json({"to_do": rows, "forecast": told})
    elif found:
        _say(found, slots, core_hour_price)


def _say(found: Forecast, slots: int, price: float | None) -> None:
    stages = [
        {"stage": stage} | _hours(found.worker_s[stage])
        for stage in _in_order(found.worker_s)
        if found.worker_s[stage].high >= 0.5
    ]
    console.say_rows(stages, title="\nworker hours")
    kept = [
        {"kind": kind, "kept": kept} | _hours(span) for (kind, kept), span in found.kept_s.items()
    ]
    console.say_rows(kept, title="\nhours of clips by kind")
    rejects = [{"reason": reason} | asdict(span) for reason, span in found.rejected.items()]
    if rejects:
        console.say_rows(rejects, title="\nfiles that will be rejected")
    told = _as_data(found, slots, price)
    lines = [
        f"\nmedia in new files: {_text(told['media_hours'], 'hours')}",
        f"elapsed on {slots} workers: {_text(told['elapsed_hours'], 'hours')}",
        f"disk: {_text(told['disk_gigabytes'], 'GB')}",
    ]
    if price is not None:
        lines.append(f"cost: {_text(told['cost'], 'at the price given')}")
    lines.append(f"from {found.tried} files that were tried; a range holds 90 % of such samples")
    console.say_lines(lines)


def _as_data(found: Forecast, slots: int, price: float | None) -> dict[str, Any]:
    total = found.total_worker_s
    return {
        "tried_files": found.tried,
        "media_hours": asdict(found.media_s.scaled(1 / HOUR_S)),
        "worker_hours": {
            stage: asdict(found.worker_s[stage].scaled(1 / HOUR_S))
            for stage in _in_order(found.worker_s)
        },
        "elapsed_hours": asdict(total.scaled(1 / HOUR_S / slots)),
        "disk_gigabytes": asdict(found.stored_bytes.scaled(1 / GIGABYTE)),
        "cost": None if price is None else asdict(total.scaled(price / HOUR_S)),
        "clip_hours": [
            {"kind": kind, "kept": kept} | asdict(span.scaled(1 / HOUR_S))
            for (kind, kept), span in found.kept_s.items()
        ],
        "rejected_files": {reason: asdict(span) for reason, span in found.rejected.items()},
    }


def _in_order(stages: Iterable[str]) -> list[str]:
    return sorted(stages, key=[stage.name for stage in BUILD].index)


def _hours(span: Span) -> dict[str, float]:
    told = span.scaled(1 / HOUR_S)
    return {"hours": told.value, "from": told.low, "to": told.high}


def _text(span: dict[str, float], unit: str) -> str:
    return f"{span['value']:.3g} {unit} ({span['low']:.3g} to {span['high']:.3g})"
