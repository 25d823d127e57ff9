"""Joint models against two of one task each, and mixtures against as many more steps without.

    python -m tests.benchmarks.proving_ground WORKSPACE RECIPE --seeds 0 1 2 --arms joint sound
    python -m tests.benchmarks.proving_ground WORKSPACE RECIPE --generate 0 --lines LINES
    python -m tests.benchmarks.paired LINES

WORKSPACE is one into which `talkies build RECIPE` has built a staged world. Every arm is trained by
`talkies train` and measured by `talkies evaluate`, as a user would, so a run that was stopped goes
on, and one that is done does nothing. What the arms are, and which scores pass, was written down
before the first ran: EXPERIMENTS.md, 2026-11-28, "The proving ground", with its amendments. With
`--lines` all held-out items that can tell are generated, and nothing else is measured of them. The
arms in EXPERIMENTS.md were trained with `look.sync: pixels`, but for those that say otherwise.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks.batches import Sample
from tasks.checkpoint import load_checkpoint
from tasks.evaluate import EvaluateConfig
from tasks.evaluate_generated import generated_sound, held_out_samples
from tasks.held_out import HELD_OUT_COLUMN
from tasks.soundtrack import under_peak
from tests.benchmarks.paired import QUESTIONS, Maker, item_lines

TALKIES = [sys.executable, "-c", "from flows.cli import main; main()"]
SPOKEN = ["visual_tts", "tts"]
STEPS, MORE_STEPS = 4000, 800
PER_TASK = 5
"""Samples of each of the three tasks in a step: a model of one task sees as many of it."""
SHARED = {
    "preset": "tiny",
    "crop_s": 5.0,
    "precision": "bfloat16",
    "joint_steps": STEPS,
    "mixture_steps": 0,
    "ema": 0.998,
    "warmup_steps": 100,
    "log_every": 50,
    "save_every": 200,
    "times": "early",
    "channels": "deviation",
    "uniform_phonemes": 0.5,
    "threads": 1,
}
ARMS: dict[str, dict[str, Any]] = {
    "joint": {"batch_size": 3 * PER_TASK},
    "wide": {"batch_size": 3 * PER_TASK, "preset": "mini"},
    "sound": {"batch_size": PER_TASK, "tasks": ["v2s"]},
    "speech": {"batch_size": 2 * PER_TASK, "tasks": SPOKEN},
    "mixtures": {"batch_size": 3 * PER_TASK, "mixture_steps": MORE_STEPS, "mixture_share": 0.5},
    "more": {"batch_size": 3 * PER_TASK, "mixture_steps": MORE_STEPS, "mixture_share": 0.0},
}
"""What differs between the arms. `wide` has as many parameters as `sound` and `speech` together.
The last two go on from `joint` of the same seed."""
CONTINUED = ("mixtures", "more")
SUMMED = "summed"
"""No training: the outputs of `sound` and `speech` added, for mixtures."""
SINGLE = ("sound onset_f1", "speech wer")
ASKED = {
    "joint": list(QUESTIONS),
    "wide": list(SINGLE),
    "sound": ["sound onset_f1"],
    "speech": ["speech wer"],
    "mixtures": list(QUESTIONS),
    "more": list(QUESTIONS),
    SUMMED: ["mixture onset_f1", "mixture wer"],
}
"""What each arm is asked."""
RATE = 2e-3


def settings(arm: str, seed: int, joint: str) -> dict[str, Any]:
    """The `train` section of an arm; `joint` is the weights file that two of them begin with."""
    train = SHARED | ARMS[arm] | {"seed": seed, "learning_rate": RATE}
    if arm in CONTINUED:
        # One joint step, because a training has at least one; fine-tuning's rate is a third.
        train |= {"joint_steps": 1, "warmup_steps": 0, "init_from": joint}
    return train


def talkies(*arguments: str, workspace: Path) -> Any:
    """What a command says as JSON; its errors go to the terminal."""
    command = [*TALKIES, *arguments, "--workspace", str(workspace), "--json"]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=dict(os.environ))
    return json.loads(said.stdout)


def trained(workspace: Path, recipe: dict[str, Any], folder: Path, arm: str, seed: int) -> str:
    """The id of an arm's checkpoint, trained now unless it was."""
    joint = ""
    if arm in CONTINUED:
        joint_id = trained(workspace, recipe, folder, "joint", seed)
        joint = str((workspace / "checkpoints" / joint_id / "model.safetensors").resolve())
    train = settings(arm, seed, joint)
    path = folder / f"{arm}-{seed}.yaml"
    path.write_text(yaml.safe_dump(recipe | {"train": train}, sort_keys=False), "utf-8")
    talkies("train", str(path), workspace=workspace)
    query = "SELECT checkpoint_id, config FROM checkpoints ORDER BY run_id DESC"
    for row in talkies("catalog", "sql", query, workspace=workspace):
        config = json.loads(row["config"])
        # A path of weights is not in a card; what they are follows from the seed.
        same = {name: value for name, value in train.items() if name != "init_from"}
        if all(config.get(name) == value for name, value in same.items()):
            return str(row["checkpoint_id"])
    raise SystemExit(f"{arm}, seed {seed}: no checkpoint; see `talkies catalog rejects`")


def maker_of(workspace: Path, *checkpoints: str) -> Maker:
    """What makes the sound of a sample: a model, or one of sound and one of speech, added.

    The model of sound is then told that nothing is said, as in all that it was trained on.
    """
    models = [load_checkpoint(workspace / "checkpoints" / one) for one in checkpoints]
    config = EvaluateConfig()

    def make(sample: Sample) -> np.ndarray:
        if len(models) == 1:
            return generated_sound(models[0], sample, config)
        unsaid = {"phonemes": np.zeros_like(sample["phonemes"]), "lips": None, "speaker": None}
        parts = [
            generated_sound(model, sample | changes, config)
            for model, changes in zip(models, (unsaid, {}), strict=True)
        ]
        return under_peak(np.sum(parts, axis=0)[None])[0]

    return make


def measure(
    workspace: Path, name: str, arm: str, seed: int, checkpoints: Sequence[str], out: Path
) -> None:
    """Adds to a file a line for each held-out item that the arm is asked about, once."""
    newest = f"SELECT dataset_id FROM newest_datasets WHERE name = '{name}'"
    made = partial(maker_of, workspace, *checkpoints)
    add_lines(workspace, newest, (arm, seed), made, ASKED[arm], out)


def add_lines(
    workspace: Path,
    dataset: str,
    run: tuple[str, int],
    made: Callable[[], Maker],
    names: Sequence[str],
    out: Path,
) -> None:
    """As `measure`, for an arm and its seed, and a dataset whose id a query tells.

    `made` loads what makes the sounds when there is need of it; `names` is what is asked.
    """
    have = (
        [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []
    )
    if any((line["arm"], line["seed"]) == run for line in have):
        return
    query = f"""
        SELECT d.shard_refs, {HELD_OUT_COLUMN} AS truths FROM datasets d
        WHERE d.dataset_id = ({dataset})
    """
    (found,) = talkies("catalog", "sql", query, workspace=workspace)
    rows = sorted(found["truths"], key=lambda row: row["item_id"])
    samples = held_out_samples(str(workspace), found["shard_refs"], {row["split"] for row in rows})
    told = dict(zip(("arm", "seed"), run, strict=True))
    lines = [told | line for line in item_lines(rows, samples, made(), names)]
    with out.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)


def main() -> None:
    """Trains and measures each arm; prints its scores, or writes what was right in each item."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ASKED), default=list(ASKED))
    parser.add_argument("--lines", type=Path, help="what tests.benchmarks.paired reads; added to")
    parser.add_argument(
        "--generate", type=int, default=60, help="items of each split for `talkies evaluate`, or 0"
    )
    options = parser.parse_args()
    recipe = yaml.safe_load(options.recipe.read_text("utf-8"))
    folder = options.workspace / "scratch" / "proving-ground"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for arm in options.arms:
            trainings = ("sound", "speech") if arm == SUMMED else (arm,)
            of_arm = [trained(options.workspace, recipe, folder, one, seed) for one in trainings]
            if options.lines:
                measure(options.workspace, recipe["name"], arm, seed, of_arm, options.lines)
            if not options.generate or arm == SUMMED:
                continue
            rows = talkies(
                *("evaluate", of_arm[0], "--dataset", recipe["name"]),
                *("--generate", str(options.generate)),
                workspace=options.workspace,
            )
            for row in rows:
                print(json.dumps({"arm": arm, "seed": seed, "checkpoint": of_arm[0]} | row))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
