"""How well a model does on its held-out items, over several draws of noise.

    python -m tests.benchmarks.draws WORKSPACE CHECKPOINT --arm ARM --lines LINES
    python -m tests.benchmarks.paired LINES

One draw tells F1 of fifty clips to about 0.01. The lines of two models, with the draw as the seed,
are compared by `tests.benchmarks.paired`: items are drawn anew, each with all its draws. With
`--grey` the model sees every film without its colour.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from models.pixels import GREY_KINDS
from tasks.batches import Sample
from tasks.checkpoint import load_checkpoint
from tasks.evaluate import EvaluateConfig
from tasks.evaluate_generated import generated_sound
from tasks.reframe import without_colour
from tests.benchmarks.paired import QUESTIONS, Maker
from tests.benchmarks.proving_ground import SINGLE, add_lines


def maker(folder: Path, config: EvaluateConfig, is_grey: bool) -> Maker:
    """What makes the sound of a sample by the checkpoint in a folder."""
    model = load_checkpoint(folder)
    sizes = model.model.config
    if is_grey and not (sizes.sync_cells and sizes.sync_kinds > GREY_KINDS):
        raise SystemExit(f"--grey: {folder.name} reads no colour")

    def make(sample: Sample) -> np.ndarray:
        shown = without_colour(sample, sizes.sync_cells) if is_grey else sample
        return generated_sound(model, shown, config)

    return make


def main() -> None:
    """Adds to a file a line for each draw, question and item, once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("checkpoint", help="the whole id")
    parser.add_argument("--arm", required=True, help="what the model is called in the lines")
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--temperature", type=float, default=EvaluateConfig().temperature)
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(SINGLE))
    parser.add_argument("--grey", action="store_true")
    options = parser.parse_args()
    own = f"SELECT dataset_id FROM checkpoints WHERE checkpoint_id = '{options.checkpoint}'"
    folder = options.workspace / "checkpoints" / options.checkpoint
    for draw in options.draws:
        config = EvaluateConfig(temperature=options.temperature, seed=draw)
        made = partial(maker, folder, config, options.grey)
        add_lines(
            options.workspace, own, (options.arm, draw), made, options.questions, options.lines
        )


if __name__ == "__main__":
    main()
