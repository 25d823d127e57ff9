"""One joint model against two of one task each, and mixtures against as many more steps without.

    python -m tests.benchmarks.proving_ground WORKSPACE RECIPE --seeds 0 1 2 --arms joint sound

WORKSPACE is one into which `talkies build RECIPE` has built a staged world. Every arm is trained by
`talkies train` and measured by `talkies evaluate`, as a user would, so a run that was stopped goes
on, and one that is done does nothing. What the arms are, and which scores pass, was written down
before the first ran: EXPERIMENTS.md, 2026-11-28, "The proving ground", with its amendment.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks.batches import Sample
from tasks.checkpoint import load_checkpoint
from tasks.evaluate import EvaluateConfig
from tasks.evaluate_generated import generated_sound, held_out_samples, scored_item
from tasks.generated_scores import Draws, score_rows
from tasks.held_out import HELD_OUT_COLUMN, chosen
from tasks.lip_envelope import with_mouth_refs
from tasks.soundtrack import under_peak

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
}
ARMS: dict[str, dict[str, Any]] = {
    "joint": {"batch_size": 3 * PER_TASK},
    "sound": {"batch_size": PER_TASK, "tasks": ["v2s"]},
    "speech": {"batch_size": 2 * PER_TASK, "tasks": SPOKEN},
    "mixtures": {"batch_size": 3 * PER_TASK, "mixture_steps": MORE_STEPS, "mixture_share": 0.5},
    "more": {"batch_size": 3 * PER_TASK, "mixture_steps": MORE_STEPS, "mixture_share": 0.0},
}
"""What differs between the arms. The last two go on from `joint` of the same seed."""
CONTINUED = ("mixtures", "more")
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


def summed(
    workspace: Path, name: str, sound_id: str, speech_id: str, generate: int
) -> list[dict[str, Any]]:
    """Scores of mixtures of which one model makes the sound and another the speech, then added.

    The model of sound is told that nothing is said, as in all that it was trained on.
    """
    sound, speech = (
        load_checkpoint(workspace / "checkpoints" / one) for one in (sound_id, speech_id)
    )
    config = EvaluateConfig(dataset=name, generate=generate)

    def make(sample: Sample) -> np.ndarray:
        unsaid = {"phonemes": np.zeros_like(sample["phonemes"]), "lips": None, "speaker": None}
        parts = [
            generated_sound(sound, sample | unsaid, config),
            generated_sound(speech, sample, config),
        ]
        return under_peak(np.sum(parts, axis=0)[None])[0]

    query = f"""
        SELECT d.shard_refs, {HELD_OUT_COLUMN} AS truths FROM datasets d
        WHERE d.name = '{name}' ORDER BY d.version DESC LIMIT 1
    """
    (found,) = talkies("catalog", "sql", query, workspace=workspace)
    rows = [row for row in found["truths"] if row["task"] == "mixture"]
    rows = with_mouth_refs(chosen(rows, generate), None)
    splits = {row["split"] for row in rows}
    samples = held_out_samples(str(workspace), found["shard_refs"], splits)
    items = [
        scored_item(str(workspace), row, samples[row["item_id"]], speech, config, make=make)
        for row in rows
    ]
    scores, _ = score_rows(items, Draws(config.bootstraps, config.seed, config.whisper))
    return scores


def main() -> None:
    """Trains and measures each arm and prints its scores beside ceilings and controls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--generate", type=int, default=60)
    parser.add_argument(
        "--summed", action="store_true", help="the outputs of sound and speech added as well"
    )
    options = parser.parse_args()
    recipe = yaml.safe_load(options.recipe.read_text("utf-8"))
    folder = options.workspace / "scratch" / "proving-ground"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for arm in options.arms:
            checkpoint = trained(options.workspace, recipe, folder, arm, seed)
            rows = talkies(
                *("evaluate", checkpoint, "--dataset", recipe["name"]),
                *("--generate", str(options.generate)),
                workspace=options.workspace,
            )
            for row in rows:
                print(json.dumps({"arm": arm, "seed": seed, "checkpoint": checkpoint} | row))
            sys.stdout.flush()
        if options.summed:
            sound, speech = (
                trained(options.workspace, recipe, folder, arm, seed) for arm in ("sound", "speech")
            )
            mixtures = options.generate // 4  # as many as evaluation takes of four tasks
            for row in summed(options.workspace, recipe["name"], sound, speech, mixtures):
                print(json.dumps({"arm": "summed", "seed": seed} | row), flush=True)


if __name__ == "__main__":
    main()
