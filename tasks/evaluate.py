"""Measure a checkpoint on held-out items: flow-matching loss, what its codec loses, how it sounds.

Loss and codec cost little and are always measured. With `generate` items are generated as well, and
what is heard in them is scored; see docs/evaluation.md.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from models.timeline import AUDIO_HZ
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from storage.versions import ASKED
from storage.workspace import Workspace
from tasks import word_onsets
from tasks.batches import Sample, collate
from tasks.checkpoint import Checkpoint, load_checkpoint, require_table
from tasks.evaluate_generated import generated_rows
from tasks.held_out import HELD_OUT_COLUMN
from tasks.lip_envelope import MOUTH_REFS_COLUMN
from tasks.listen import NETWORKS
from tasks.media import read_audio
from tasks.model_card import DATA_COLUMN, SOURCES_COLUMN, DataTold, write_card
from tasks.sampling import Sampling, SolverName, require_steps
from tasks.scores import CONTROL, SCORE, mean_score, row_of
from tasks.snapshot import read_samples
from tasks.weights import fingerprint, whisper_fingerprint

HELD_OUT = ("validation", "test")
SCORES = ("multi_resolution_stft_db", "log_mel_l1_db")


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """How a checkpoint is measured.

    Attributes:
        dataset: NAME or NAME@VERSION, whose models are measured; empty takes the recipe's own.
        checkpoint: id of the one model to measure; empty for all that were trained on it.
        times: evenly spaced path times at which the loss is measured.
        bootstraps: resamples behind the confidence interval.
        seed: of noise and resampling.
        generate: most items of each held-out split that are generated and heard; 0 for none.
        solver: of a generation, as in `sonify.solver`.
        steps: of a generation, as in `sonify.steps`.
        guidance: how strongly a generation follows its conditions; 1 is no guidance.
        speech_guidance: how strongly it follows words and voice, where that differs.
        temperature: of the noise that it begins with, as in `sonify.temperature`.
        shifted: most items of each split that are generated once more from a delayed picture.
        by_lips: most items of each split that are generated twice more from words without times:
            with the picture of who speaks, and with that of another.
        whisper: the model that hears what was said, named as `transcribe.model` is.
        benchmark: folder of an installed av-benchmark, which scores what is generated too; empty
            for none.
    """

    dataset: str = ""
    checkpoint: str = ""
    times: Annotated[int, Field(ge=1)] = 8
    bootstraps: Annotated[int, Field(ge=100)] = 1000
    seed: int = 0
    generate: Annotated[int, Field(ge=0)] = 0
    solver: SolverName = "euler"
    steps: Annotated[int, Field(ge=1, le=1000)] = 25
    guidance: Annotated[float, Field(ge=0, le=20)] = 3.0
    speech_guidance: Annotated[float | None, Field(ge=0, le=20)] = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    shifted: Annotated[int, Field(ge=0)] = 0
    by_lips: Annotated[int, Field(ge=0)] = 0
    whisper: str = "base"
    benchmark: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for steps that solver few_steps cannot take."""
        require_steps("evaluate", self.solver, self.steps)

    @property
    def sampling(self) -> Sampling:
        """How the model is sampled."""
        return Sampling(
            self.solver,
            self.steps,
            self.guidance,
            self.speech_guidance,
            temperature=self.temperature,
        )


def evaluate_shard(shard: ShardRef, out: ShardTarget, config: EvaluateConfig) -> ShardResult:
    """Writes the `evaluations` of each checkpoint of the shard."""
    import torch

    torch.set_num_threads(1)
    return run_items(shard, out, lambda item: evaluate_checkpoint(item, out, config))


def evaluate_checkpoint(item: dict[str, Any], out: ShardTarget, config: EvaluateConfig) -> Rows:
    """The rows of one checkpoint: each metric a task and split, with a bootstrap interval."""
    folder = Workspace.at(out.workspace).fetch(item["ref"])
    checkpoint = load_checkpoint(folder, item["item_id"])
    require_table(item["phoneme_table"], f"the dataset of checkpoint {item['item_id']}")
    values: dict[tuple[str, str, str, str, str], list[float]] = {}

    def note(metric: str, role: str, task: str, split: str, value: float, unit: str = "") -> None:
        for name in (task, "all"):
            values.setdefault((metric, role, name, split, unit), []).append(value)

    for split in HELD_OUT:
        samples = read_samples(out.workspace, item["shard_refs"], split)
        for number, sample in enumerate(samples):
            out.report(number, len(samples), f"flow loss, {split}")
            loss = held_out_loss(checkpoint, sample, config)
            note("flow_matching_loss", SCORE, sample["task"], split, loss)
            note("flow_matching_loss", CONTROL, sample["task"], split, zero_loss(sample))
    for clip in item["_held_out"] or []:
        for metric, value in codec_score(checkpoint, out.workspace, clip).items():
            note(f"codec_{metric}", SCORE, clip["task"], clip["split"], value, "dB")
    rows = [
        row_of(
            (metric, role, task, split),
            mean_score(scores, config.bootstraps, config.seed),
            len(scores),
            unit,
        )
        for (metric, role, task, split, unit), scores in sorted(values.items())
    ]
    absent: list[str] = []
    if config.generate:
        generated, absent = generated_rows(item, checkpoint, out, config)
        rows += generated
    workspace, data = Workspace.at(out.workspace), DataTold.of(item)
    write_card(workspace, item["ref"], item["item_id"], checkpoint.card, data, rows, absent)
    return {"evaluations": [{"checkpoint_id": item["item_id"], **row} for row in rows]}


def held_out_loss(checkpoint: Checkpoint, sample: Sample, config: EvaluateConfig) -> float:
    """Mean flow-matching loss of one sample over evenly spaced times, with fixed noise."""
    import torch

    from models.flow import NO_DROPOUT, flow_loss

    sizes = checkpoint.model.config
    copies = [sample] * config.times
    batch = collate(copies, len(sample["latents"]), sizes.motion_dim, sizes.visual_dim)
    t = (torch.arange(config.times) + 0.5) / config.times
    generator = torch.Generator().manual_seed(config.seed)
    with torch.inference_mode():
        result = flow_loss(
            checkpoint.model,
            batch.latents,
            batch.conditions,
            generator=generator,
            dropout=NO_DROPOUT,
            t=t,
        )
    return float(result.loss)


def zero_loss(sample: Sample) -> float:
    """The flow-matching loss of a model that predicts nothing: the control beside the score.

    The target is x_1 - x_0 with x_0 ~ N(0, I), so its mean square is that of the latents plus one.
    """
    return float(np.mean(np.square(sample["latents"]))) + 1.0


def codec_score(
    checkpoint: Checkpoint, workspace_root: str, clip: dict[str, Any]
) -> dict[str, float]:
    """What the codec alone loses on a clip, in dB: the ceiling of every generation."""
    import torch

    from models.codec import round_trip_score

    audio = read_audio(workspace_root, clip["audio_ref"], clip["start_s"], clip["end_s"], AUDIO_HZ)
    scores = round_trip_score(checkpoint.codec, torch.from_numpy(audio))
    return {name: scores[name] for name in SCORES}


def weights(config: EvaluateConfig) -> dict[str, str]:
    """The sha256 of each network that hears what is generated; none where nothing is."""
    if not config.generate:
        return {}
    names = {name: fingerprint(name) for name in (*NETWORKS, "silero_vad")}
    names = names | word_onsets.weights() | {"speaker_net": fingerprint("speaker_net")}
    return names | {"whisper": whisper_fingerprint(config.whisper)}


STAGE = Stage(
    name="evaluate",
    title="evaluate the model",
    version=6,
    config=EvaluateConfig,
    items=f"""
        SELECT ck.checkpoint_id AS item_id, ck.ref, d.shard_refs, d.phoneme_table,
               d.hours * 3600 AS cost_s,
               {DATA_COLUMN} AS _data, {SOURCES_COLUMN} AS _sources,
               (SELECT list(struct_pack(task := i.task, split := i.split,
                                        audio_ref := de.audio16_ref, start_s := w.start_s,
                                        end_s := w.end_s) ORDER BY i.item_id)
                FROM dataset_items i JOIN windows w ON w.clip_id = i.item_id
                JOIN decodes de USING (source_id)
                WHERE i.dataset_id = d.dataset_id AND i.split <> 'train') AS _held_out,
               CASE WHEN $generate > 0 THEN {HELD_OUT_COLUMN} END AS truths,
               CASE WHEN $generate > 0 THEN {MOUTH_REFS_COLUMN} END AS _mouths
        FROM checkpoints ck JOIN datasets d USING (dataset_id)
        WHERE {ASKED} AND $checkpoint IN ('', ck.checkpoint_id)
    """,
    outputs=(Output("evaluations", key="checkpoint_id"),),
    run=evaluate_shard,
    weights=weights,
    selects=("dataset", "checkpoint"),
    later=(
        "generate",
        "solver",
        "steps",
        "guidance",
        "speech_guidance",
        "temperature",
        "shifted",
        "by_lips",
        "whisper",
        "benchmark",
    ),
    later_columns=("truths",),
    keeps_history=True,
    shard_s=1e-6,
)
