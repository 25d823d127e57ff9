"""The report: one self-contained page to look at and to listen to."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from storage.catalog import Catalog
from storage.workspace import Workspace
from tasks import report_charts as charts
from tasks.report_data import FunnelStep, ReportData, Row, file_name, report_data
from tasks.report_gates import histogram_svg
from tasks.report_media import DYNAMIC_RANGE_DB, Inliner, colour_bar_png, data_uri
from tasks.report_mixture_cards import mixed_section
from tasks.report_words import difference, lateness, length, number, quantity, share, words
from tasks.scores import side_by_side

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
TEMPLATES = Path(__file__).with_name("templates")
SPEECH_PX_PER_S, SPEECH_PX = 106, 900
"""Room that phonemes need to be legible; a narrower screen scrolls the time line."""
PLAYABLE_VIDEO = ("h264", "vp8", "vp9", "av1", None)
KIND_TITLES = {
    "speech_on_screen": "Speech with picture",
    "speech_off_screen": "Speech alone",
    "mixed": "Speech and sound",
    "sound": "Sound",
    "silent": "Silent",
}
METRIC_TITLES = {
    "flow_matching_loss": "Flow-matching loss",
    "codec_multi_resolution_stft_db": "Codec round trip, multi-resolution STFT",
    "codec_log_mel_l1_db": "Codec round trip, log-mel distance",
    "onset_f1": "Onsets within 50 ms, F1",
    "dnsmos_overall": "DNSMOS, overall",
    "frechet_yamnet_scores": "Fréchet distance of YAMNet scores",
    "kernel_yamnet_scores": "Kernel distance of YAMNet scores",
}
VERSIONS = {"python": "Python", "torch": "torch", "duckdb": "DuckDB"}
SECTIONS = (
    ("funnel", "Funnel"),
    ("clips", "Clips"),
    ("phonemes", "Phonemes"),
    ("mixtures", "Mixtures"),
    ("training", "Training"),
    ("soundtracks", "Soundtracks"),
    ("rejects", "Rejects"),
    ("queries", "Ask the catalog"),
)


def write_report(workspace: Workspace, name: str) -> Path:
    """Writes `reports/<name>.html` about the newest dataset of a name and returns its path.

    Raises ValueError for a name that is no file name, and CatalogMissing where nothing was built.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"report name {name!r}: use letters, digits, '.', '_' and '-'")
    with Catalog(workspace, read_only=True) as catalog:
        data = report_data(catalog, name)
    ref = f"reports/{name}.html"
    workspace.write(ref, render(data, workspace, datetime.now(UTC)).encode())
    return workspace.path(ref)


def render(data: ReportData, workspace: Workspace, now: datetime) -> str:
    """The page; `now` dates it and ends the clock of a run that is still going on."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    media = Inliner(str(workspace.root))
    films = [_film(row, media) for row in data.films]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "length": length, "number": number, "share": share, "words": words,
        "data_uri": data_uri, "difference": difference, "lateness": lateness,
        "file_name": file_name,
    }  # fmt: skip
    return environment.get_template("report.html.j2").render(
        data=data,
        css=Markup((TEMPLATES / "report.css").read_text()),
        js=Markup((TEMPLATES / "report.js").read_text()),
        written=now,
        run=_run(data, now),
        funnel=_funnel(data.funnel),
        gates=[_gate(row) for row in data.gates],
        films=films,
        clips=[_clip(row, media) for row in data.clips],
        mixed=mixed_section(data.mixed, media),
        loss=charts.loss_chart(data.losses) if data.losses else None,
        curves=_curves(data),
        evaluations=_evaluations(data.evaluations),
        colour_bar=colour_bar_png(),
        kind_titles=KIND_TITLES,
        task_titles=charts.TASK_TITLES,
        bar=charts.bar,
        sections=SECTIONS,
        dynamic_range_db=DYNAMIC_RANGE_DB,
    )


# -- cards ---------------------------------------------------------------------------------------


def _timeline(sound: Row, duration_s: float, row: Row | None = None) -> Row | None:
    """The lanes over one time axis: spectrogram, waveform, and speech where there is any."""
    if sound["audio"] is None:
        return None
    clip = row or {}
    spoken = clip.get("words") or []
    wide = max(SPEECH_PX_PER_S * duration_s, SPEECH_PX) if spoken else 240
    return {
        "picture": sound["picture"],
        "wave": charts.waveform_svg(sound["audio"], duration_s, clip.get("speech_spans") or ()),
        "speech": charts.speech_svg(spoken, clip.get("phonemes") or [], duration_s, wide)
        if spoken
        else None,
        "axis": charts.time_axis_svg(duration_s),
        "ticks": charts.mel_ticks(),
        "duration_s": duration_s,
        "min_px": round(wide),
    }


def _clip(row: Row, media: Inliner) -> Row:
    duration_s = row["duration_s"]
    ref = row["audio16_ref"] if row["has_audio"] else None
    sound = media.sound(ref, row["start_s"], row["end_s"])
    picture = row["frames10_ref"] if row["has_picture"] else None
    times_s = [row["start_s"], row["start_s"] + duration_s / 2]
    return row | {
        "file": file_name(row["uri"]),
        "title": KIND_TITLES.get(row["kind"], words(row["kind"])),
        "player": sound["player"],
        "why": sound["why"],
        "timeline": _timeline(sound, duration_s, row),
        "thumbnails": media.frames(picture, times_s),
    }


def _film(row: Row, media: Inliner) -> Row:
    src, why = media.film(row["file_ref"])
    sound = media.sound(row["audio_ref"], 0.0, row["duration_s"])
    # A film shows its own first frame; the square that the encoder saw stands in where it cannot.
    still = [] if src else media.frames(row["frames10_ref"], [0.0])
    if src and row["video_codec"] not in PLAYABLE_VIDEO:
        why = f"Browsers do not show {row['video_codec']} video; open {row['file_ref']}."
    splits = row["splits"]
    return row | {
        "file": file_name(row["file_ref"]),
        "source_file": file_name(row["uri"]),
        "src": src,
        "why": why,
        "still": still[0]["src"] if still else None,
        "player": None if src else sound["player"],
        "timeline": _timeline(sound, row["duration_s"]),
        "trained_on": "train" in splits,
        "held_out": [split for split in splits if split != "train"],
    }


# -- charts and tables ---------------------------------------------------------------------------


def _run(data: ReportData, now: datetime) -> Row:
    """What the page's head says about the run that built the dataset."""
    run = data.run
    if run is None:
        return {"started_at": None, "wall_s": None, "going_on": False, "machine": "", "commit": ""}
    versions = json.loads(run["versions"] or "{}")
    going_on = run["wall_s"] is None and run["status"] == "running"
    wall_s = (now - run["started_at"]).total_seconds() if going_on else run["wall_s"]
    cores = versions.get("cores")
    names = [f"{cores} cores"] if cores else []
    names += [f"{n} {versions[k]}" for k, n in VERSIONS.items() if versions.get(k)]
    return {
        "started_at": run["started_at"],
        "wall_s": wall_s,
        "going_on": going_on,
        "machine": ", ".join(names),
        "commit": (run["code_commit"] or "")[:10],
    }


def _funnel(steps: list[FunnelStep]) -> list[Row]:
    """Steps with their drawing; widths follow the length of media."""
    mouth_s = max((step.duration_s for step in steps), default=0.0)
    shares = [step.duration_s / mouth_s if mouth_s else 0.0 for step in steps]
    following: list[float | None] = [*shares[1:], None]
    return [
        {"step": step, "share": part, "drawing": charts.funnel_svg(part, after)}
        for step, part, after in zip(steps, shares, following, strict=True)
    ]


def _gate(row: Row) -> Row:
    """A gate with its threshold in words and its histogram drawn."""
    unit, threshold, drawing = row["unit"], row["threshold"], None
    if row["bins"]:
        low, high = (quantity(end, unit) for end in row["axis"])
        title = f"{row['title']} of {row['clips_asked']} clips, from {low} to {high}"
        drawing = {
            "svg": histogram_svg(row["bins"], row["axis"], threshold, title),
            "low": low,
            "high": high,
        }
    condition = "" if threshold is None else f"{row['sign']}\u00a0{quantity(threshold, unit)}"
    return row | {"drawing": drawing, "condition": condition}


def _curves(data: ReportData) -> list[Row]:
    """First and last loss of each line of the loss chart."""
    curves = []
    for task in charts.TASKS:
        points = [point["loss"] for point in data.losses if point["task"] == task]
        if points:
            curves.append({"task": task, "first": points[0], "last": points[-1]})
    return curves


def _evaluations(rows: list[Row]) -> list[Row]:
    """Scores with their intervals drawn on one axis per metric and unit, and what stands beside."""
    drawn = []
    scores = side_by_side(rows)
    for row in scores:
        group = [r for r in scores if (r["metric"], r["unit"]) == (row["metric"], row["unit"])]
        axis = charts.padded([r[end] for r in group for end in ("low", "high", "value")])
        title = METRIC_TITLES.get(row["metric"], words(row["metric"]).capitalize())
        picture = charts.interval_svg(row["value"], row["low"], row["high"], axis)
        drawn.append(row | {"title": title, "drawing": picture})
    return drawn
