"""Stages a world: a folder of clips whose truth is known, with a manifest that says it.

Clips are made in parts; a part's rows are written when all its clips are, so that a run that was
stopped goes on behind the last whole part, and a world can grow. A clip is the same bytes whatever
part it is made in, in whichever process: it depends on the world's configuration and its number.
"""

import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storage.workspace import write_atomically
from tasks.world_clip import make_clip
from tasks.world_content import RIGHTS
from tasks.world_film import SUFFIX, write_clip
from tasks.world_plan import WorldConfig, plan_clip

PART = 25
"""Clips of a part."""
DESCRIPTION, MANIFEST, RECIPE = "world.json", "manifest.csv", "recipe.yaml"
UNFINISHED = "this world is not finished: run `talkies stage-world` again\n"
COLUMNS = ("path", "licence", "attribution", "consent", "transcript", "split", "truth")


class WorldError(ValueError):
    """A folder cannot take a world."""


@dataclass(frozen=True, slots=True)
class Part:
    """Clips from one number up to, not including, another."""

    start: int
    end: int

    def rows_path(self, out: Path) -> Path:
        """Where the part's rows stand once all its clips are written."""
        return out / "parts" / f"{self.start:06d}-{self.end:06d}.jsonl"


@dataclass(frozen=True, slots=True)
class Staged:
    """What making a part took."""

    clips: int
    cpu_s: float


def prepare(out: Path, config: WorldConfig, clips: int) -> None:
    """Makes the folder of a world and says in it which one it is.

    Raises WorldError where the folder holds another world, more than so many clips, or anything
    else.
    """
    description = out / DESCRIPTION
    said = {"digest": config.digest, **asdict(config)}
    if description.is_file():
        held = json.loads(description.read_text(encoding="utf-8"))
        if held.get("digest") != config.digest:
            differs = [
                name for name in said if held.get(name) != json.loads(json.dumps(said[name]))
            ]
            raise WorldError(
                f"{out}: holds a world with another {', '.join(differs[1:]) or 'generation'}; "
                "give a new folder, or what it was staged with (world.json)"
            )
        held_clips = max((int(p.stem[-6:]) for p in out.glob("parts/*.jsonl")), default=0)
        if clips < held_clips:
            raise WorldError(
                f"{out}: holds {held_clips} clips, more than {clips}; give a new folder, or "
                f"--clips {held_clips} or more"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WorldError(f"{out}: holds something that is no staged world; give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(description, json.dumps(said, indent=2).encode())


def parts_of(clips: int) -> list[Part]:
    """The parts of a world with so many clips, in order."""
    return [Part(start, min(start + PART, clips)) for start in range(0, clips, PART)]


def stage_part(out: Path, config: WorldConfig, part: Part) -> Staged:
    """Makes the clips of a part; those of a part that is there already are left alone."""
    rows_path = part.rows_path(out)
    if rows_path.is_file():
        return Staged(0, 0.0)
    started = time.process_time()
    rows = []
    for number in range(part.start, part.end):
        path = out / clip_path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        plan = plan_clip(config, number)
        clip = make_clip(plan, config)
        write_clip(clip, path)
        rows.append({"path": clip_path(number), "split": plan.split, "truth": clip.truth})
    rows_path.parent.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(rows_path, lines.encode())
    return Staged(len(rows), time.process_time() - started)


def clip_path(number: int) -> str:
    """Where a clip lies below its world's folder."""
    return f"clips/{number // 1000:03d}/{number:06d}{SUFFIX}"


def begin_manifest(out: Path) -> None:
    """Puts a manifest that no build can read into a world until all its clips are there.

    A clip that is there and in no manifest would have a split by chance.
    """
    write_atomically(out / MANIFEST, UNFINISHED.encode())


def write_manifest(out: Path, clips: int, with_transcripts: bool) -> dict[str, int]:
    """Writes the manifest of a world; returns how many clips of each kind it has.

    Args:
        out: the world's folder, with all parts.
        clips: how many of it.
        with_transcripts: whether what is said is told as a transcript too, for training; without
            it the text is in the truth alone, and a build must recognise it.
    """
    text, kinds = io.StringIO(), dict[str, int]()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _rows(out, clips):
        truth = row["truth"]
        kinds[truth["kind"]] = kinds.get(truth["kind"], 0) + 1
        said = (truth["text"] or "") if with_transcripts else ""
        told = json.dumps(truth, ensure_ascii=False, separators=(",", ":"))
        writer.writerow((row["path"], *RIGHTS, said, row["split"], told))
    write_atomically(out / MANIFEST, text.getvalue().encode())
    return kinds


def _rows(out: Path, clips: int) -> Iterator[dict[str, Any]]:
    for part in parts_of(clips):
        with part.rows_path(out).open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
