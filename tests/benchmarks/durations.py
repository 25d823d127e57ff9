"""How far predicted phoneme durations are from measured ones, beside those that letters give.

    python -m tests.benchmarks.durations WORKSPACE

The workspace is one that `talkies build` has made of read speech whose times were aligned. A fifth
of its clips is held out. Every utterance is stretched to the length it has, so that what is
compared is how its time is shared among its phonemes; beside that, how wrong its own pace is.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import LATENT_HZ
from storage.catalog import Catalog
from storage.workspace import Workspace
from tasks.durations import fit_durations, predicted_s
from tasks.mix_conditions import phonemes_on_grid

SPOKEN = """
    SELECT clip_id, list(struct_pack(phoneme, start_s, end_s, spoken, word_position,
                                     spoken_position) ORDER BY position) AS phonemes
    FROM phonemes WHERE method = 'aligned' GROUP BY clip_id ORDER BY clip_id
"""


def by_letters(clip: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Shares of each phoneme (P,) where a word has time by its letters, its phonemes alike."""
    words = [(p["word_position"], p["spoken_position"]) for p in clip]
    pairs = zip(clip, words, strict=True)
    return np.array([(len(p["spoken"]) + 1) / words.count(word) for p, word in pairs])


def main() -> None:
    """Prints errors of both on the held-out clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    options = parser.parse_args()
    with Catalog(Workspace.at(options.workspace), read_only=True) as catalog:
        clips = [row["phonemes"] for row in catalog.rows(SPOKEN)]
    held_out, training = clips[::5], [c for n, c in enumerate(clips) if n % 5]
    model = fit_durations(
        (phonemes_on_grid(c, c[-1]["end_s"] + 1 / LATENT_HZ) for c in training), seed=0
    )
    if model is None:
        raise SystemExit("nobody speaks in this workspace")
    errors_ms: dict[str, list[float]] = {"predicted": [], "even": [], "letters": []}
    paces = []
    for clip in held_out:
        true_s = np.array([p["end_s"] - p["start_s"] for p in clip])
        own_s = np.array(predicted_s([p["phoneme"] for p in clip], model))
        paces.append(float(own_s.sum() / true_s.sum()))
        shares = {"predicted": own_s, "even": np.ones(len(clip)), "letters": by_letters(clip)}
        for name, seconds in shares.items():
            shared_s = seconds * true_s.sum() / seconds.sum()
            errors_ms[name] += (1000 * np.abs(shared_s - true_s)).tolist()
    print(f"{len(training)} clips in training, {len(held_out)} held out, ", end="")
    print(f"{len(errors_ms['even'])} phonemes")
    for name, values in errors_ms.items():
        print(
            f"{name:<10} mean error {np.mean(values):6.1f} ms, median {np.median(values):6.1f} ms"
        )
    low, middle, high = statistics.quantiles(paces, n=4)
    print(
        f"pace, predicted to measured length: median {middle:.2f}, quartiles {low:.2f}, {high:.2f}"
    )


if __name__ == "__main__":
    main()
