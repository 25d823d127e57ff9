"""`talkies stage-world`: a folder of clips whose truth is known."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import console
from flows.console import JsonOption, WorkersOption, WorkspaceOption

if TYPE_CHECKING:
    from flows.world import World


def stage_world(
    out: Annotated[Path, typer.Argument(help="Folder for the world.", show_default=False)],
    clips: Annotated[int, typer.Option(help="Clips in all.", min=1)] = 1000,
    seconds: Annotated[float, typer.Option(help="Length of a clip.", min=2, max=10)] = 5.0,
    seed: Annotated[int, typer.Option(help="Another seed gives another world.")] = 0,
    side: Annotated[
        int, typer.Option(help="Side of the square picture in pixels, even.", min=64, max=512)
    ] = 128,
    voices: Annotated[
        list[str] | None,
        typer.Option("--voice", help="A voice, such as espeak:en-us; every one here if left out."),
    ] = None,
    test: Annotated[float, typer.Option(help="Share of clips for test.", min=0, max=0.9)] = 0.1,
    validation: Annotated[
        float, typer.Option(help="Share of clips for validation.", min=0, max=0.9)
    ] = 0.05,
    transcripts: Annotated[
        bool, typer.Option(help="Give the build what is said; else it must recognise it.")
    ] = True,
    workers: WorkersOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stage a world: things that fall, roll and break, faces that speak, and the exact truth.

    `talkies build OUT/recipe.yaml` takes it in as any archive; the truth enters the catalog as
    tables. The same seed gives the same clips, whatever the number of workers. Run
    again, it goes on where it was stopped, and a larger number of clips adds to what is there.
    The workspace is that of the build; nothing is written to it.
    """
    from flows.progress import Progress
    from flows.world import stage_world as stage
    from tasks.world import RECIPE
    from tasks.world_plan import WorldConfig
    from tasks.world_voices import voices_here

    as_json = console.wants_json(as_json)
    here, missing = voices_here()
    if unknown := [voice for voice in voices or () if voice not in here]:
        reasons = "; ".join(missing.values())
        known = f"choose from {', '.join(here)}" + (f" ({reasons})" if reasons else "")
        raise console.fail(f"--voice {unknown[0]}: not here; {known}", console.USAGE)
    if test + validation >= 1:
        raise console.fail("--test and --validation leave nothing to train on", console.USAGE)
    if side % 2:
        raise console.fail(f"--side {side}: give an even number", console.USAGE)
    config = WorldConfig(seconds, seed, side, tuple(voices or here), test, validation)
    if not as_json:
        console.say_lines([f"voices: {', '.join(config.voices)}"])
        console.say_lines([f"missing: {reason}" for reason in missing.values()])
    with Progress(as_json) as progress:
        bar = progress.add("stage clips", clips)
        world = stage(
            out,
            config,
            clips,
            transcripts,
            console.workers_of(workers),
            lambda done, total: progress.show(bar, done, total=total),
        )
        progress.end(bar, f"  stage clips: {world.made} made, {clips - world.made} there before")
    if as_json:
        told = {"out": str(out), "clips": clips, **asdict(world), "missing": missing}
        told |= {"voices": config.voices, "clips_per_core_s": world.rate_per_core}
        console.say_json(told)
    else:
        there = f" --workspace {workspace}" if workspace else ""
        console.say_lines([*_told(out, clips, world), f"next: talkies build {out}/{RECIPE}{there}"])


def _told(out: Path, clips: int, world: "World") -> Iterator[str]:
    """What was staged, in lines."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(world.kinds.items()))
    yield f"{out}: {clips} clips ({kinds}); manifest.csv says what is true of each"
    if world.rate_per_core:
        yield (
            f"{world.made} clips in {world.wall_s:.1f} s: {world.cpu_s / world.made:.3f} CPU "
            f"seconds each, {world.rate_per_core:.2f} clips a second and core"
        )
