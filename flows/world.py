"""Stages a world over the cores of this machine."""

import multiprocessing
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tasks.worker import begin_worker
from tasks.world import (
    RECIPE,
    Part,
    begin_manifest,
    parts_of,
    prepare,
    stage_part,
    write_manifest,
)
from tasks.world_plan import WorldConfig

Tell = Callable[[int, int], None]
SHIPPED_RECIPE = Path(__file__).parent / "world.yaml"


@dataclass(frozen=True, slots=True)
class World:
    """A staged world, and what staging it took.

    Attributes:
        kinds: how many clips of each kind it has.
        made: clips that were made now; the others were there.
        wall_s: wall seconds.
        cpu_s: CPU seconds of all workers, less their start.
    """

    kinds: dict[str, int]
    made: int
    wall_s: float
    cpu_s: float

    @property
    def rate_per_core(self) -> float | None:
        """Clips in a CPU second; None where none was made."""
        return self.made / self.cpu_s if self.cpu_s > 0 else None


def stage_world(
    out: Path,
    config: WorldConfig,
    clips: int,
    with_transcripts: bool,
    workers: int,
    tell: Tell,
) -> World:
    """Makes the clips of a world that are not there yet, its manifest, and a recipe for it.

    Raises WorldError where the folder holds something else, and NoVoice for a voice that is not
    here.
    """
    started = time.perf_counter()
    prepare(out, config, clips)
    parts = parts_of(clips)
    missing = [part for part in parts if not part.rows_path(out).is_file()]
    if missing:
        begin_manifest(out)
    done, made, cpu_s = clips - sum(part.end - part.start for part in missing), 0, 0.0
    context = multiprocessing.get_context("spawn")
    leash_end, leash = context.Pipe(duplex=False)
    size = max(min(workers, len(missing)), 1)
    with (
        leash_end,
        leash,
        ProcessPoolExecutor(size, context, begin_worker, (leash_end,)) as pool,
    ):
        futures = {pool.submit(stage_part, out, config, part): part for part in missing}
        try:
            for future in as_completed(futures):
                staged = future.result()
                made, cpu_s = made + staged.clips, cpu_s + staged.cpu_s
                done += _clips_of(futures[future])
                tell(done, clips)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    kinds = write_manifest(out, clips, with_transcripts)
    recipe = out / RECIPE
    if not recipe.exists():
        shutil.copyfile(SHIPPED_RECIPE, recipe)
    return World(kinds, made, time.perf_counter() - started, cpu_s)


def _clips_of(part: Part) -> int:
    return part.end - part.start
