"""Render mixtures again, shuffled, with one and with two workers: are the samples the same?

    .venv/bin/python -m tests.benchmarks.mixture_hashes --number 500

Recipes of all regimes, modes, rooms and devices are drawn for made sounds at 48 kHz. They are
rendered in order in this process, and in another order in fresh processes; all hashes are compared.
"""

import argparse
import functools
import multiprocessing
import random
from typing import Any

import numpy as np

from tasks.levels import Audio
from tasks.mix_devices import DEFAULT_DEVICES
from tasks.mix_plan import MixConfig, Recipe, plan_recipe
from tasks.mix_render import render
from tasks.rooms import RoomsConfig, simulated
from tests.benchmarks.decode import load
from tests.made_mixtures import item

RATE_HZ = 48_000
ROOMS = 4
DEVICES = dict.fromkeys(DEFAULT_DEVICES, 0.2)


@functools.cache
def sound(seed: int, seconds: float) -> Audio:
    """Noise with pauses, float32 (1, samples)."""
    drawn = np.random.default_rng(seed)
    made = drawn.standard_normal(round(seconds * RATE_HZ))
    loud = np.repeat(drawn.random(round(seconds * 10)) > 0.2, RATE_HZ // 10)
    return (0.05 * made * loud).astype(np.float32)[None]


@functools.cache
def room(number: int) -> Audio:
    """A response of the default bank."""
    return simulated(number, RoomsConfig())[0].astype(np.float32)


def recipes(number: int) -> list[Recipe]:
    """As many recipes, all different."""
    config = MixConfig(
        rate_hz=RATE_HZ,
        modes={"add": 0.7, "insert": 0.3},
        speech_devices=DEVICES,
        ambience_devices=DEVICES,
    )
    made = []
    for take in range(number):
        one = take % ROOMS
        hall = {"room_id": str(one), "room_ref": f"blobs/00/{one}.flac", "t60_s": 0.5}
        made.append(plan_recipe(item(take=take, ambience_end_s=3.0 + take % 8, **hall), config))
    return made


def digest(recipe: Recipe) -> str:
    """The hash of a recipe's samples."""
    speech, ambience = recipe["speech"], recipe["ambience"]
    hall = speech and speech["room"]
    return render(
        recipe,
        sound(1, 4.0) if speech else None,
        sound(2, ambience["end_s"]) if ambience else None,
        room(int(hall["room_id"])) if hall else None,
    ).sha256()


def elsewhere(planned: list[Recipe], workers: int, seed: int) -> list[str]:
    """The hashes in the recipes' order, rendered in another order by fresh processes."""
    order = list(range(len(planned)))
    random.Random(seed).shuffle(order)
    context: Any = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        found = pool.map(digest, [planned[place] for place in order], chunksize=3)
    return [name for _, name in sorted(zip(order, found, strict=True))]


def main() -> None:
    """Prints how many hashes are the same; exits with 1 where one is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=500)
    planned = recipes(parser.parse_args().number)
    known = [digest(recipe) for recipe in planned]
    print(f"{len(known)} mixtures, {len(set(known))} different ones, {load()}")
    same = True
    for workers in (1, 2):
        equal = sum(
            a == b for a, b in zip(known, elsewhere(planned, workers, workers), strict=True)
        )
        print(f"shuffled, {workers} worker(s): {equal} of {len(known)} identical")
        same &= equal == len(known)
    raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
