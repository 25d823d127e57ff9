"""Train the transformer on a frozen dataset: jointly on three kinds of data, then on mixtures."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.ids import canonical_json
from storage.rejects import Rejected
from storage.stage import Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from storage.versions import ASKED, PLACE
from storage.workspace import Workspace
from tasks.checkpoint import Extras, read_card, require_table, save_checkpoint
from tasks.clip_encoders import PIXEL_GRIDS
from tasks.durations import fit_durations
from tasks.encode import load_codec
from tasks.few_steps import FewStepTrainer, InTraining
from tasks.init_weights import begun_with, codec_warning, init_weights
from tasks.model_card import DATA_COLUMN, SOURCES_COLUMN, DataTold, write_card
from tasks.train_config import TrainConfig
from tasks.train_device import name_of
from tasks.train_memory import guarded_step, require_room
from tasks.train_ranks import trainer_of
from tasks.train_watch import TrainingWatch, watched
from tasks.trainer import Trainer
from tasks.training_data import NoTrainingClip, TrainingData
from tasks.voice_choice import fit_voices

if TYPE_CHECKING:
    from models.codec import Codec
    from models.durations import DurationPredictor

SPOKEN_TASKS = ("visual_tts", "tts")


def train_shard(shard: ShardRef, out: ShardTarget, config: TrainConfig) -> ShardResult:
    """Trains on each dataset of the shard and writes `checkpoints` and `losses`."""
    return run_items(shard, out, lambda item: train_dataset(item, out, config))


def train_dataset(item: dict[str, Any], out: ShardTarget, config: TrainConfig) -> Rows:
    """Trains on one dataset; goes on where a killed training of the same inputs stopped."""
    import torch

    torch.set_num_threads(config.threads)
    require_table(item["phoneme_table"], f"dataset {item['_name']}")
    codec = load_codec(out.workspace, item["codec_ref"])
    weights = channel_weights(codec, config)
    try:
        data = TrainingData(
            out.workspace,
            item["shard_refs"],
            config,
            cells=item["cells"] or 0,
            weights=weights,
        )
    except NoTrainingClip as error:
        raise Rejected("no_training_data", f"dataset {item['_name']}: {error}") from error
    workspace = Workspace.at(out.workspace)
    key = f"{item['_fingerprint'][:16]}-{item['_input_hash'][:16]}"
    saved = workspace.path(f"scratch/training/{key}.pt")
    saved.parent.mkdir(exist_ok=True)
    if warning := codec_warning(config, codec, item["_name"]):
        out.warn(warning)
        item = item | {"_warnings": [warning]}
    name = f"{item['_name']}-{item['_fingerprint'][:8]}{item['_input_hash'][:8]}"
    watching = functools.partial(watched, workspace, name, codec=codec)
    with trainer_of(data, out.workspace, item["shard_refs"], saved, out.folder) as trainer:
        if config.few_steps and not trainer.step:
            with contextlib.closing(student_of(trainer)) as student:
                require_room(student)
        # Not for a model that is trained: the samples of what follows would be unmade.
        if trainer.step < trainer.end:
            with watching(trainer) as watch:
                run_steps(trainer, saved, out, watch)
    saved_student = saved.with_suffix(".few-steps.pt")
    student = train_student(trainer, saved_student, out, watching) if config.few_steps else None
    return _finish(trainer, student, codec, item, out)


def channel_weights(codec: "Codec", config: TrainConfig) -> tuple[float, ...]:
    """How much each channel's error counts (C,), of mean 1; empty where all count alike."""
    if config.channels == "even":
        return ()
    deviations = codec.deviations
    return tuple((deviations / deviations.mean()).tolist())


def train_student(
    trainer: Trainer,
    saved: Path,
    out: ShardTarget,
    watching: Callable[[InTraining], AbstractContextManager[TrainingWatch]],
) -> FewStepTrainer:
    """The trained student of a trained model; goes on where a killed training stopped."""
    trainer.release()
    student = student_of(trainer)
    with contextlib.closing(student):
        student.resume(saved)
        with watching(student) as watch:
            run_steps(student, saved, out, watch)
    return student


def student_of(trainer: Trainer) -> FewStepTrainer:
    """A student that begins as the model that is trained."""
    return FewStepTrainer(trainer.data, trainer.trained, trainer.losses, trainer.device)


def run_steps(trainer: InTraining, saved: Path, out: ShardTarget, watch: TrainingWatch) -> None:
    """Takes the steps that are left, shows and reports them and saves states on the way.

    The last one's too: until the model's rows are committed, nothing else holds the work. `talkies
    catalog gc` sweeps it.
    """
    config, smooth = trainer.config, None
    # Reading a loss waits for the device: a GPU would stand idle after each of its steps.
    told_every = 1 if trainer.device.type == "cpu" else config.log_every
    while trainer.step < trainer.end:
        began = time.perf_counter()
        share = guarded_step(trainer)
        watch.after_step()
        is_last = trainer.step == trainer.end
        if trainer.step % told_every == 0 or is_last:
            # As if the other ranks' parts were like this one's.
            loss = float(share) * trainer.rank.count
            smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
            note = f"{config.phase(trainer.step - 1)}, loss {smooth:.3f}"
            out.report(trainer.step, config.all_steps, note)
        trainer.spent_s += time.perf_counter() - began
        if config.is_saved(trainer.step):
            trainer.save(saved)


def _finish(
    trainer: Trainer,
    student: FewStepTrainer | None,
    codec: "Codec",
    item: dict[str, Any],
    out: ShardTarget,
) -> Rows:
    config = trainer.config
    means = trainer.losses.means()
    tenth = max(1, len(means) // 10)
    first, last = sum(means[:tenth]) / tenth, sum(means[-tenth:]) / tenth
    settings = dataclasses.asdict(config)
    del settings["init_from"]  # a path of this machine; what lay there counts by its hash
    card = {
        "dataset_id": item["item_id"],
        "dataset": item["_name"],
        "train": settings,
        "first_loss": first,
        "last_loss": last,
        "device": name_of(trainer.device, config.threads),
    }
    init = init_weights(config).get("init_from")
    if trainer.begun:
        card["init"] = {"sha256": init} | begun_with(config) | dataclasses.asdict(trainer.begun)
    if warnings := item.get("_warnings"):
        card["warnings"] = warnings
    workspace = Workspace.at(out.workspace)
    folder = Path(out.folder) / "checkpoint"
    data = trainer.data
    voices = fit_voices(data.store, data.single + (data.mixed if config.mixture_steps else []))
    extras = Extras(_durations(data), student and student.trained, voices)
    checkpoint_id, ref = save_checkpoint(workspace, folder, trainer.trained, codec, card, extras)
    written = read_card(workspace.path(ref))
    write_card(workspace, ref, checkpoint_id, written, DataTold.of(item))
    row = {
        "checkpoint_id": checkpoint_id,
        "dataset_id": item["item_id"],
        "preset": config.preset,
        "ref": ref,
        "parameters": trainer.model.trainable_parameters(),
        "steps": config.steps,
        "first_loss": first,
        "last_loss": last,
        "config": canonical_json(config),
        "device": card["device"],
        "init_sha256": init,
        "train_s": trainer.spent_s + (student.spent_s if student else 0.0),
    }
    losses = [point | {"checkpoint_id": checkpoint_id} for point in trainer.curve]
    return {"checkpoints": [row], "losses": losses}


def _durations(data: TrainingData) -> "DurationPredictor | None":
    """What the training speech says of the pace of phonemes."""
    spoken = [n for n in data.single if data.tasks[n] in SPOKEN_TASKS]
    return fit_durations((data.store[n]["phonemes"] for n in spoken), data.config.seed)


CELLS = " ".join(f"WHEN '{name}' THEN {grid}" for name, grid in PIXEL_GRIDS.items())

STAGE = Stage(
    name="train",
    title="train the model",
    version=3,
    config=TrainConfig,
    items=f"""
        SELECT d.dataset_id AS item_id, d.shard_refs, c.ref AS codec_ref, d.phoneme_table,
               d.name AS _name, d.hours * 3600 AS cost_s,
               CASE d.sync_extractor {CELLS} END AS cells,
               {DATA_COLUMN} AS _data, {SOURCES_COLUMN} AS _sources
        FROM datasets d JOIN codecs c USING (codec_id)
        WHERE {ASKED}
        ORDER BY {PLACE} DESC LIMIT 1
    """,
    outputs=(),
    run=train_shard,
    later=(
        "tasks",
        "times",
        "channels",
        "dropout",
        "padding",
        "context_positions",
        "ema",
        "accumulate",
        "ranks",
        "sharding",
        "length_buckets",
        "device",
        "precision",
        "compile",
        "sample_every",
        "uniform_phonemes",
        "reframe",
        "grey",
        "few_steps",
        "few_steps_guidance",
    ),
    later_columns=("cells",),
    # The weights to begin with count by their hash, wherever they lie.
    selects=("dataset", "init_from"),
    weights=init_weights,
    keeps_history=True,
    shard_s=1e-6,
)
