"""Train the transformer on a frozen dataset: jointly on three kinds of data, then on mixtures."""

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from models.timeline import LATENT_HZ, count
from storage.ids import canonical_json
from storage.rejects import Rejected
from storage.stage import Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from storage.workspace import Workspace
from tasks.batches import FEATURES, TASKS, Batch, Sample, collate, draw
from tasks.checkpoint import require_table, save_checkpoint
from tasks.encode import load_codec
from tasks.snapshot import read_samples
from tasks.train_config import TrainConfig

if TYPE_CHECKING:
    from models.transformer import VSSFlow


class Trainer:
    """A model in training: its weights, its optimiser and its loss curve.

    Every step draws its batch and its noise from generators that are keyed by the seed and the
    step, so that a training that goes on from a saved state is the one that was never stopped.
    """

    def __init__(self, config: TrainConfig, samples: list[Sample]) -> None:
        """Makes the initial model; raises ValueError where no sample can train it."""
        import torch
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        from models.presets import PRESETS
        from models.transformer import seeded

        self.config = config
        self.single = [s for s in samples if s["task"] != "mixture"]
        self.mixed = [s for s in samples if s["task"] == "mixture"]
        if not self.single:
            raise ValueError("the training split holds no clip; lower split.test or add sources")
        channels = int(self.single[0]["latents"].shape[1])
        sizes = dataclasses.replace(PRESETS[config.preset](), audio_channels=channels)
        # Features are as wide as their extractor makes them; without any the preset's size holds.
        for name in ("visual", *FEATURES):
            given = next((s[name] for s in samples if s.get(name) is not None), None)
            if given is not None:
                sizes = dataclasses.replace(sizes, **{f"{name}_dim": int(given.shape[1])})
        if config.context_positions != "preset":
            on = config.context_positions == "on"
            sizes = dataclasses.replace(sizes, context_positions=on)
        self.model: VSSFlow = seeded(sizes, config.seed)
        self.average: AveragedModel | None = None
        if config.ema:
            self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.95),
            weight_decay=config.weight_decay,
        )
        self.step = 0
        self.curve: list[dict[str, Any]] = []
        self._since: dict[str, list[float]] = {}

    def batch(self, step: int) -> Batch:
        """The batch of a step; the same for the same step, whatever came before."""
        config = self.config
        generator = np.random.Generator(np.random.Philox(key=[config.seed, step]))
        length = count(config.crop_s, LATENT_HZ)
        mixtures = 0
        if config.phase(step) == "mixtures" and self.mixed:
            mixtures = round(config.batch_size * config.mixture_share)
        single = config.batch_size - mixtures
        samples = draw(self.single, single, length, config.balance, generator)
        if mixtures:
            samples += draw(self.mixed, mixtures, length, 0.0, generator)
        sizes = self.model.config
        return collate(samples, length, sizes.motion_dim, sizes.visual_dim)

    def train_step(self) -> float:
        """Takes one optimiser step and returns its loss."""
        import torch

        from models.flow import PAPER_DROPOUT, flow_loss

        config = self.config
        batch = self.batch(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate(self.step)
        generator = torch.Generator().manual_seed((config.seed << 32) + self.step)
        loss, per_sample = flow_loss(
            self.model,
            batch.latents,
            batch.conditions,
            generator=generator,
            dropout=PAPER_DROPOUT if config.dropout == "batch" else None,
            times=config.times,
            padding=config.padding,
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        self._log(batch.tasks, per_sample.tolist())
        return float(loss.detach())

    @property
    def trained(self) -> "VSSFlow":
        """The model that training gives: the averaged one where weights are averaged."""
        return self.model if self.average is None else cast("VSSFlow", self.average.module)

    def _log(self, tasks: tuple[str, ...], losses: list[float]) -> None:
        for task, loss in zip(tasks, losses, strict=True):
            for name in (task, "all"):
                self._since.setdefault(name, []).append(loss)
        if self.step % self.config.log_every and self.step != self.config.steps:
            return
        phase = self.config.phase(self.step - 1)
        for name in ("all", *TASKS):
            if values := self._since.get(name):
                point = {"phase": phase, "step": self.step, "task": name}
                self.curve.append(point | {"loss": sum(values) / len(values)})
        self._since = {}

    def save(self, path: Path) -> None:
        """Writes the state to go on from; whole or not at all."""
        import torch

        state = {
            "sizes": dataclasses.asdict(self.model.config),
            "step": self.step,
            "curve": self.curve,
            "since": self._since,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)

    def resume(self, path: Path) -> None:
        """Goes on from a saved state; without one of this model's sizes, from the beginning."""
        import torch

        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state.get("sizes") != dataclasses.asdict(self.model.config):
            return
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.step, self.curve, self._since = state["step"], state["curve"], state["since"]


def train_shard(shard: ShardRef, out: ShardTarget, config: TrainConfig) -> ShardResult:
    """Trains on each dataset of the shard and writes `checkpoints` and `losses`."""
    return run_items(shard, out, lambda item: train_dataset(item, out, config))


def train_dataset(item: dict[str, Any], out: ShardTarget, config: TrainConfig) -> Rows:
    """Trains on one dataset; goes on where a killed training of the same inputs stopped."""
    import torch

    torch.set_num_threads(config.threads)
    started = time.perf_counter()
    require_table(item["phoneme_table"], f"dataset {item['_name']}")
    samples = read_samples(out.workspace, item["shard_refs"], "train")
    try:
        trainer = Trainer(config, samples)
    except ValueError as error:
        raise Rejected("no_training_data", f"dataset {item['_name']}: {error}") from error
    workspace = Workspace.at(out.workspace)
    key = f"{item['_fingerprint'][:16]}-{item['_input_hash'][:16]}"
    saved = workspace.path(f"scratch/training/{key}.pt")
    saved.parent.mkdir(exist_ok=True)
    trainer.resume(saved)
    smooth = None
    while trainer.step < config.steps:
        loss = trainer.train_step()
        smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
        note = f"{config.phase(trainer.step - 1)}, loss {smooth:.3f}"
        out.report(trainer.step, config.steps, note)
        if trainer.step % config.save_every == 0 and trainer.step < config.steps:
            trainer.save(saved)
    rows = _finish(trainer, item, out, time.perf_counter() - started)
    saved.unlink(missing_ok=True)
    return rows


def _finish(trainer: Trainer, item: dict[str, Any], out: ShardTarget, train_s: float) -> Rows:
    config = trainer.config
    codec = load_codec(out.workspace, item["codec_ref"])
    curve = [point for point in trainer.curve if point["task"] == "all"]
    tenth = max(1, len(curve) // 10)
    first = sum(point["loss"] for point in curve[:tenth]) / tenth
    last = sum(point["loss"] for point in curve[-tenth:]) / tenth
    card = {
        "dataset_id": item["item_id"],
        "dataset": item["_name"],
        "train": dataclasses.asdict(config),
        "first_loss": first,
        "last_loss": last,
    }
    workspace = Workspace.at(out.workspace)
    folder = Path(out.folder) / "checkpoint"
    checkpoint_id, ref = save_checkpoint(workspace, folder, trainer.trained, codec, card)
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
        "train_s": train_s,
    }
    losses = [point | {"checkpoint_id": checkpoint_id} for point in trainer.curve]
    return {"checkpoints": [row], "losses": losses}


STAGE = Stage(
    name="train",
    title="train the model",
    version=2,
    config=TrainConfig,
    items="""
        SELECT d.dataset_id AS item_id, d.shard_refs, c.ref AS codec_ref, d.phoneme_table,
               d.name AS _name, d.hours * 3600 AS cost_s
        FROM datasets d JOIN codecs c USING (codec_id)
        WHERE d.name = $dataset
        ORDER BY d.version DESC LIMIT 1
    """,
    outputs=(),
    run=train_shard,
    later=("times", "dropout", "padding", "context_positions", "ema"),
    selects=("dataset",),
    keeps_history=True,
    shard_s=1e-6,
)
