"""Progress bars for people, on the error stream, for everything longer than two seconds."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress

from storage.stage import WARNINGS


class Progress:
    """A bar a stage; without a terminal, one line a stage when it is done."""

    def __init__(self, quiet: bool = False) -> None:
        """Shows nothing when quiet."""
        self.console = Console(stderr=True, quiet=quiet)
        self.bars = RichProgress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
            disable=quiet or not sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        """Begins to draw."""
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops drawing."""
        self.bars.stop()

    def add(self, title: str, total: float) -> TaskID:
        """A new bar."""
        return self.bars.add_task(title, total=total, note="")

    def say(self, line: str) -> None:
        """Prints a line above the bars."""
        self.bars.console.print(line, highlight=False)

    def warn(self, title: str, line: str) -> None:
        """Prints a warning of a stage above the bars."""
        self.say(f"  [yellow]{escape(title)}: {escape(line)}[/yellow]")

    def show(self, bar: TaskID, done: float, note: str = "", total: float | None = None) -> None:
        """Moves a bar."""
        self.bars.update(bar, completed=done, note=note, total=total)

    def end(self, bar: TaskID, line: str) -> None:
        """Completes a bar; where bars cannot be drawn, prints its line."""
        if self.bars.disable:
            elapsed_s = self.bars.tasks[bar].elapsed or 0.0
            self.console.print(f"{line}, {elapsed_s:.1f} s", highlight=False)
            return
        total = self.bars.tasks[bar].total
        self.bars.update(bar, completed=total, note="")


def warned(folders: Iterable[Path]) -> list[str]:
    """What shards want people to be told so far."""
    return [
        line
        for folder in folders
        if (path := folder / WARNINGS).exists()
        for line in json.loads(path.read_text())
    ]


def reported(folders: Iterable[Path]) -> tuple[float, float, str]:
    """What running shards have reported so far: (done, total, the newest note)."""
    done, total, note = 0.0, 0.0, ""
    for folder in folders:
        try:
            state = json.loads((folder / "progress.json").read_text())
        except (OSError, ValueError):
            continue
        done, total = done + state["done"], total + state["total"]
        note = state["note"] or note
    return done, total, note
