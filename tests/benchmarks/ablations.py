"""What each switch of training is worth: short matched trainings, one switch changed at a time.

    nice -n 19 python -m tests.benchmarks.ablations WORKSPACE --dataset world --results FILE

WORKSPACE is one that `talkies build` has made; it is read, and nothing is written to it. Every arm
is trained by the product's own `Trainer` on the newest version of the dataset, from the same first
weights, batches and noise of a seed. Lines of results go to FILE as they are had, and a run that
was stopped goes on behind them; `--table` prints what FILE holds and trains nothing.

Measured on single held-out items, with their own latents' noise and times alike in all arms: the
flow-matching loss (by uniform t) with all conditions, without those that show when something
moves, without any, and with words that have no times; then generations (Euler, guidance 2), whose
log-mel distance and level can be compared between arms whose latents differ, where losses cannot.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from models.codec import MelPCA
from models.flow import NO_DROPOUT, flow_loss, sample
from models.metrics import DB_PER_NEPER
from models.timeline import AUDIO_HZ
from models.transformer import VSSFlow
from storage.catalog import Catalog
from storage.workspace import Workspace
from tasks.batches import Batch, Sample, collate
from tasks.clip_encoders import PIXEL_GRIDS
from tasks.encode import EncodeConfig, latents_of, load_codec
from tasks.media import read_audio
from tasks.sample_store import SampleStore
from tasks.train import channel_weights
from tasks.train_config import TrainConfig
from tasks.trainer import Trainer, sizes_of
from tasks.training_data import TrainingData
from tasks.uniform_phonemes import Stretch, stretched

Latents = Literal["stored", "raw", "peak"]
Recode = Callable[[Sample], np.ndarray]
TASKS = ("v2s", "visual_tts", "tts")
TIMES, BATCH = 4, 4
STEPS, GUIDANCE = 8, 2.0
TIMED = ("motion", "sync", "lips")
"""Conditions that show when something moves."""
CUED = Stretch(0.0, 0.0)
"""Words without times, within the time of their utterance."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One switch in one position.

    Attributes:
        control: the arm that it is held against.
        train: settings of `train` that differ from the benchmark's.
        latents: `raw` as `fit_codec.normalise: false` would give them, `peak` as `encode.loudness:
            peak` would; else those of the dataset.
    """

    control: str = "ours"
    train: dict[str, Any] = field(default_factory=dict)
    latents: Latents = "stored"


PADDED: dict[str, Any] = {"crop_s": 6.4, "batch_size": 3}
"""Clips of 5 s, each followed by 1.4 s of padding."""
ARMS = {
    "ours": Arm(),
    # As in a training on such latents, whose codec has found no deviations.
    "normalise: false": Arm(train={"channels": "even"}, latents="raw"),
    "channels: even": Arm(train={"channels": "even"}),
    "loudness: peak": Arm(latents="peak"),
    "times: uniform": Arm(train={"times": "uniform"}),
    "times: logit_normal": Arm(train={"times": "logit_normal"}),
    "uniform_phonemes: 1": Arm(train={"uniform_phonemes": 1.0}),
    "dropout: batch": Arm(train={"dropout": "batch"}),
    "context_positions: off": Arm(train={"context_positions": "off"}),
    "padding: masked": Arm(train=PADDED),
    "padding: signal": Arm("padding: masked", PADDED | {"padding": "signal"}),
}
EMA, AVERAGED = 0.99, "ema: 0.99"
"""An average of the weights of `ours`, from the same training."""
SAME = "the average sound"
"""For every item the one whose latents are the mean: what a model that knows nothing would make."""
FIXED: dict[str, Any] = {
    "preset": "tiny",
    "mixture_steps": 0,
    "batch_size": 8,
    "crop_s": 2.0,
    "warmup_steps": 50,
    "precision": "bfloat16",
    "device": "cpu",
    "threads": 1,
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained and measured; reading the picture's cells takes half of a small step."""

    steps: int
    layers: int
    sync: bool
    items: int


class Recoded(SampleStore):
    """The training samples with latents of another kind."""

    def __init__(self, root: str, refs: Sequence[str], recode: Recode) -> None:
        super().__init__(root, refs, "train", check_hashes=True)
        self._recode = recode

    def read(self, indices: Sequence[int]) -> list[Sample]:
        return [one | {"latents": self._recode(one)} for one in super().read(indices)]


@dataclass(frozen=True, eq=False)
class World:
    """A built dataset: where it lies, its shards, codec and clips, and its held-out samples."""

    root: str
    refs: list[str]
    cells: int
    codec: MelPCA
    clips: dict[str, dict[str, Any]]
    held_out: list[Sample]

    @property
    def scale(self) -> torch.Tensor:
        """What each latent channel was divided by (C,)."""
        return self.codec.scale

    def data(self, config: TrainConfig, latents: Latents) -> TrainingData:
        """The training split, with latents of a kind."""
        weights = channel_weights(self.codec, config)
        data = TrainingData(self.root, self.refs, config, cells=self.cells, weights=weights)
        if latents == "raw":
            scale = self.scale.numpy()
            data.store = Recoded(self.root, self.refs, lambda one: one["latents"] * scale)
        if latents == "peak":
            data.store = Recoded(self.root, self.refs, self._at_one_peak)
        return data

    def _at_one_peak(self, sample: Sample) -> np.ndarray:
        clip = self.clips[sample["item_id"]]
        start_s, end_s = clip["start_s"], clip["end_s"]
        audio = read_audio(self.root, clip["audio_ref"], start_s, end_s, AUDIO_HZ)
        config = EncodeConfig(loudness="peak")
        return latents_of(audio, round(end_s - start_s, 6), self.codec, config)


def world_of(root: Path, name: str, per_task: int) -> World:
    """The newest version of a dataset, with so many held-out single items of each task."""
    with Catalog(Workspace.at(root), read_only=True) as catalog:
        query = """
            SELECT d.shard_refs, d.sync_extractor, c.ref AS codec_ref
            FROM datasets d SEMI JOIN newest_datasets USING (dataset_id)
            JOIN codecs c USING (codec_id) WHERE d.name = $name
        """
        (found,) = catalog.rows(query, {"name": name})
        clips = catalog.rows("""
            SELECT w.clip_id, d.audio16_ref AS audio_ref, w.start_s, w.end_s
            FROM windows w JOIN decodes d USING (source_id)
        """)
    codec = load_codec(str(root), found["codec_ref"])
    if not isinstance(codec, MelPCA):
        raise SystemExit(f"{name} has codec {codec.name}; these ablations are of mel_pca")
    refs = list(found["shard_refs"])
    held_out: list[Sample] = []
    for split in ("test", "validation"):
        store = SampleStore(root, refs, split)
        tasks, names = store.column("task"), store.column("item_id")
        for task in TASKS:
            there = sum(one["task"] == task for one in held_out)
            own = sorted(np.flatnonzero(tasks == task).tolist(), key=lambda n: names[n])
            wanted = own[: per_task - there]
            held_out += store.read(wanted) if wanted else []
    return World(
        str(root),
        refs,
        PIXEL_GRIDS.get(found["sync_extractor"], 0),
        codec,
        {clip["clip_id"]: clip for clip in clips},
        sorted(held_out, key=lambda one: (TASKS.index(one["task"]), one["item_id"])),
    )


def batch_of(samples: Sequence[Sample], model: VSSFlow, copies: int = 1) -> Batch:
    """Each sample so many times, one behind the other, as one batch."""
    longest = max(len(one["latents"]) for one in samples)
    rows = [one for one in samples for _ in range(copies)]
    sizes = model.config
    widths = {"sync": sizes.sync_dim, "lips": sizes.lips_dim, "speaker": sizes.speaker_dim}
    widths = {name: width for name, width in widths.items() if width}
    return collate(rows, longest, sizes.motion_dim, sizes.visual_dim, widths)


def losses(model: VSSFlow, samples: Sequence[Sample]) -> dict[str, float]:
    """Held-out flow-matching losses by what the model is told."""
    found: dict[str, list[float]] = {}
    for first in range(0, len(samples), BATCH):
        group = list(samples[first : first + BATCH])
        t = ((torch.arange(TIMES) + 0.5) / TIMES).repeat(len(group))
        batch = batch_of(group, model, TIMES)
        nobody = torch.zeros(len(t), dtype=torch.bool)
        cases = {
            "loss": batch.conditions,
            "loss_untimed": batch.conditions.dropped(dict.fromkeys(TIMED, nobody)),
            "loss_untold": batch.conditions.null(),
        }
        if all(one["task"] != "v2s" for one in group):
            words = [one | {"phonemes": stretched(one["phonemes"], CUED)} for one in group]
            cases["loss_words_uncued"] = batch_of(words, model, TIMES).conditions
            cases["loss_words"] = batch.conditions
        for name, conditions in cases.items():
            generator = torch.Generator().manual_seed(first)
            with torch.inference_mode():
                loss = flow_loss(
                    model, batch.latents, conditions, generator=generator, dropout=NO_DROPOUT, t=t
                )
            found.setdefault(name, []).extend(loss.per_sample.tolist())
    return {name: float(np.mean(values)) for name, values in found.items()}


def generated(model: VSSFlow, world: World, latents: Latents) -> dict[str, float]:
    """How far generations lie from their truth; see `distances`."""

    def make(batch: Batch, seed: int) -> torch.Tensor:
        made = sample(
            model,
            batch.conditions,
            steps=STEPS,
            guidance=GUIDANCE,
            generator=torch.Generator().manual_seed(seed),
            precision=torch.bfloat16,
        )
        return made / world.scale if latents == "raw" else made

    return distances(world, model, make)


def distances(
    world: World, model: VSSFlow, make: Callable[[Batch, int], torch.Tensor]
) -> dict[str, float]:
    """How far what is made lies from the truth: log-mels, their shape alone, and their level.

    `make` gives latents of the dataset's kind for a batch as `model` takes it, and a seed.
    """
    apart: dict[str, list[float]] = {"log_mel_db": [], "shape_db": [], "level_db": []}
    for first in range(0, len(world.held_out), 2 * BATCH):
        # Every second item: generating costs more than a loss.
        batch = batch_of(world.held_out[first : first + 2 * BATCH : 2], model)
        own = world.codec.log_mel(make(batch, first))
        true = world.codec.log_mel(batch.latents)
        away = (own - true) * DB_PER_NEPER  # (B, M, bands)
        apart["log_mel_db"] += away.abs().mean((1, 2)).tolist()
        shape = away - away.mean((1, 2), keepdim=True)
        apart["shape_db"] += shape.abs().mean((1, 2)).tolist()
        levels = [10 * (2 * mel).exp().sum(2).mean(1).log10() for mel in (own, true)]
        apart["level_db"] += (levels[0] - levels[1]).abs().tolist()
    return {name: float(np.mean(values)) for name, values in apart.items()}


def trained(world: World, arm: Arm, size: Size, seed: int) -> Trainer:
    """A training of an arm that took its steps."""
    changes = FIXED | arm.train | {"joint_steps": size.steps, "seed": seed, "ema": EMA}
    data = world.data(TrainConfig(**changes), arm.latents)
    sizes = replace(sizes_of(data), layers=size.layers)
    if not size.sync:
        sizes = replace(sizes, sync_dim=0, sync_cells=0)
    trainer = Trainer(data, sizes=sizes)
    while trainer.step < trainer.end:
        trainer.train_step()
    trainer.close()
    return trainer


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Every arm's measures as means over seeds; behind them each seed's difference to its control.

    Losses of latents of another scale are left out.
    """
    by_place = {(row["arm"], row["seed"]): row["measures"] for row in rows}
    lines = []
    for name in dict.fromkeys(row["arm"] for row in rows):
        arm = ARMS.get(name, Arm())
        seeds = sorted(seed for one, seed in by_place if one == name)
        lines.append(f"{name} (against {arm.control}; {len(seeds)} seeds)")
        for measure in by_place[name, seeds[0]]:
            if measure.startswith("loss") and arm.latents != "stored":
                continue
            own = {seed: by_place[name, seed][measure] for seed in seeds}
            against = {
                seed: by_place[arm.control, seed][measure]
                for seed in seeds
                if name != arm.control and (arm.control, seed) in by_place
            }
            apart = ", ".join(f"{own[seed] - other:+.3f}" for seed, other in against.items())
            lines.append(f"  {measure:<18} {np.mean(list(own.values())):7.3f}  {apart}")
    return "\n".join(lines)


def main() -> None:
    """Trains and measures what FILE does not hold yet, and prints all that it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--dataset", default="world")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--layers", type=int, default=3, help="of ten that preset tiny has")
    parser.add_argument("--sync", action="store_true", help="models that see the sync feature too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--items", type=int, default=8, help="held-out items of each task")
    parser.add_argument("--table", action="store_true", help="print what FILE holds, and end")
    options = parser.parse_args()
    size = Size(options.steps, options.layers, options.sync, options.items)
    torch.set_num_threads(1)
    lines = options.results.read_text("utf-8").splitlines() if options.results.exists() else []
    rows = [json.loads(line) for line in lines]
    if not options.table and any(row["size"] != asdict(size) for row in rows):
        raise SystemExit(f"{options.results} holds trainings of another size; name another file")
    done = {(row["arm"], row["seed"]) for row in rows}
    places = [(seed, arm) for seed in options.seeds for arm in options.arms]
    places = [] if options.table else [one for one in places if one[::-1] not in done]
    world = world_of(options.workspace, options.dataset, options.items) if places else None
    for seed, name in places:
        assert world is not None
        arm, began_s = ARMS[name], time.process_time()
        trainer = trained(world, arm, size, seed)
        models = {name: trainer.model}
        if name == "ours":
            models[AVERAGED] = trainer.trained
        found = {
            own: losses(model.eval(), world.held_out) | generated(model, world, arm.latents)
            for own, model in models.items()
        }
        if name == "ours":
            found[SAME] = distances(world, trainer.model, lambda b, _: torch.zeros_like(b.latents))
        for own, measures in found.items():
            place = {"arm": own, "seed": seed, "size": asdict(size)}
            rows.append(place | {"measures": measures, "cpu_s": time.process_time() - began_s})
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
