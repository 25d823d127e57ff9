"""Generate held-out items with a checkpoint, hear them beside their truth, and score both.

What was found of each item stands beside the weights as lines of JSON, so that a score can be
followed to the items that it comes from.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.timeline import AUDIO_HZ, count
from storage.stage import ShardTarget
from storage.workspace import Workspace
from tasks.av_benchmark import benchmark_rows, require_tool
from tasks.av_export import AvExport
from tasks.batches import Sample, collate
from tasks.by_lips import lips_partners, samples_by_lips
from tasks.checkpoint import Checkpoint
from tasks.generated_scores import Draws, Scored, item_record, score_rows
from tasks.hear import Heard, hear, noise_as_loud
from tasks.held_out import Facts, chosen, facts_of, true_sound
from tasks.likeness import alike_item
from tasks.lip_envelope import mouth_of, with_mouth_refs
from tasks.sampling import generated_latents, noise_seed
from tasks.scores import CEILING, CONTROL, SCORE, TRUTH, Row
from tasks.shifted import delayed_sample, shifts_s, to_shift
from tasks.snapshot import read_samples
from tasks.soundtrack import under_peak
from tasks.timing import timed_item
from tasks.word_onsets import true_word_starts

if TYPE_CHECKING:
    from tasks.evaluate import EvaluateConfig

ITEMS = "items.jsonl"
NO_BENCHMARK = "avbench_*: evaluate.benchmark names no folder of av-benchmark"


def generated_rows(
    item: Mapping[str, Any], checkpoint: Checkpoint, out: ShardTarget, config: "EvaluateConfig"
) -> tuple[list[Row], list[str]]:
    """Rows of `evaluations` of what is generated, and why what is missing is missing."""
    tool = require_tool(config.benchmark) if config.benchmark else None
    export = AvExport(Path(out.folder)) if tool else None
    rows = chosen(item.get("truths") or [], config.generate)
    rows = with_mouth_refs(rows, item.get("_mouths"))
    samples = held_out_samples(out.workspace, item["shard_refs"], {row["split"] for row in rows})
    late = to_shift(rows, samples, config.shifted)
    others = lips_partners(rows, samples, config.by_lips)
    scored = []
    for number, row in enumerate(rows):
        out.report(number, len(rows), "generate and hear")
        item_id = row["item_id"]
        given = out.workspace, row, samples[item_id], checkpoint, config
        other = samples[others[item_id]] if item_id in others else None
        is_shifted = item_id in late
        scored.append(scored_item(*given, is_shifted=is_shifted, other=other, export=export))
    lines = [json.dumps(item_record(one), ensure_ascii=False) + "\n" for one in scored]
    Workspace.at(out.workspace).write(f"{item['ref']}/{ITEMS}", "".join(lines).encode())
    whisper = config.whisper.rstrip("/").rpartition("/")[2]
    found, absent = score_rows(scored, Draws(config.bootstraps, config.seed, whisper))
    if tool is None or export is None:
        return found, [*absent, NO_BENCHMARK]
    for split, exported in export.splits().items():
        out.report(len(rows), len(rows), f"av-benchmark, {split}")
        found += benchmark_rows(tool, split, exported)
    return found, absent


def held_out_samples(
    workspace_root: str, shard_refs: Sequence[str], splits: set[str]
) -> dict[str, Sample]:
    """The samples of some splits by the ids of their items."""
    return {
        sample["item_id"]: sample
        for split in sorted(splits)
        for sample in read_samples(workspace_root, list(shard_refs), split)
    }


def generated_sound(checkpoint: Checkpoint, sample: Sample, config: "EvaluateConfig") -> np.ndarray:
    """What a checkpoint makes of a sample's conditions: (T,) at the codec's rate, under the peak.

    The noise follows from the item and the seed, whatever else is generated.
    """
    import torch

    sizes = checkpoint.model.config
    batch = collate([sample], len(sample["latents"]), sizes.motion_dim, sizes.visual_dim)
    seed = noise_seed(config.seed, sample["item_id"])
    with torch.inference_mode():
        latents = generated_latents(checkpoint, batch.conditions, config.sampling, seed, "evaluate")
        return under_peak(checkpoint.codec.decode(latents).numpy())[0]


def scored_item(
    workspace_root: str,
    row: Mapping[str, Any],
    sample: Sample,
    checkpoint: Checkpoint,
    config: "EvaluateConfig",
    *,
    is_shifted: bool = False,
    other: Sample | None = None,
    export: AvExport | None = None,
) -> Scored:
    """An item with what is heard in its generation, its truth, the codec's truth, and noise.

    With `is_shifted` it is generated once more, from a delayed picture, and with an `other` item
    twice, from words without times with its own picture and the other's. A generation is held under
    the peak that a soundtrack is held under. The sounds are written to an `export` as well.
    """
    facts = facts_of(row)
    true = true_sound(workspace_root, row)
    samples = count(row["duration_s"], AUDIO_HZ)
    sounds = {
        SCORE: generated_sound(checkpoint, sample, config)[:samples],
        TRUTH: true[:samples],
        CEILING: codec_sound(checkpoint, sample)[:samples],
    }
    heard = {role: _hear(sound, facts, config) for role, sound in sounds.items()}
    noise = noise_as_loud(true, noise_seed(config.seed, facts.item_id))
    heard[CONTROL] = hear(noise, opinion=facts.is_told)
    if export is not None:
        export.add(workspace_root, row, sounds | {CONTROL: noise[:samples]})
    shifts = {}
    if is_shifted:
        later = generated_sound(checkpoint, delayed_sample(sample), config)[:samples]
        shifts = shifts_s(sounds[SCORE], later, sounds[TRUTH])
    by_lips = {
        role: generated_sound(checkpoint, one, config)[:samples]
        for role, one in (samples_by_lips(sample, other) if other else {}).items()
    }
    mouth = mouth_of(workspace_root, row)
    starts = true_word_starts(row, facts.words)
    timed = timed_item(facts, starts, mouth, sounds, shifts, by_lips)
    return Scored(facts, heard, timed, alike_item(facts, sounds, heard))


def _hear(sound: np.ndarray, facts: Facts, config: "EvaluateConfig") -> Heard:
    return hear(
        sound,
        whisper=config.whisper if facts.is_told else "",
        opinion=facts.is_told,
        strikes=facts.strikes,
    )


def codec_sound(checkpoint: Checkpoint, sample: Sample) -> np.ndarray:
    """What the codec makes of a sample's own latents (T,): the best that could be generated."""
    import torch

    with torch.inference_mode():
        return checkpoint.codec.decode(torch.from_numpy(sample["latents"])[None])[0].numpy()
