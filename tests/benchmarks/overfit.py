"""Whether the model can learn 32 clips by heart: what a training that works must be able to do.

    .venv/bin/python -m tests.benchmarks.overfit --folder /tmp/overfit

Clips of two seconds are made: tones with harmonics that change every fifth of a second, over noise
that swells. Half are sounds with a picture, a quarter speech with one, a quarter speech without;
picture, motion and phonemes tell them apart. The tiny preset is trained on them on the CPU through
the training shards, and asked for each clip by its conditions alone, at guidance 1. Printed are the
flow-matching loss over evenly spaced times with every condition, before and after, and the
correlation of generated and target log-mel spectrograms over all of their numbers.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.codec import MelPCA
from models.flow import NO_DROPOUT, flow_loss, sample
from models.mel import log_mel
from models.motion import MOTION_DIM
from models.phoneme_ids import INVENTORY_SIZE
from models.transformer import VSSFlow
from tasks.batches import Batch, collate
from tasks.snapshot import _packed, _write_samples
from tasks.train_config import TrainConfig
from tasks.trainer import Trainer
from tasks.training_data import TrainingData

CLIPS, CLIP_S, RATE_HZ, LATENTS = 32, 2.0, 16_000, 50
TASKS = ("v2s", "v2s", "visual_tts", "tts")
STEPS, GUIDANCE, TIMES = 50, 1.0, 8


def made_audio(rng: np.random.Generator) -> np.ndarray:
    """A clip (samples,): ten notes of five harmonics, over noise that swells once."""
    at_s = np.arange(int(CLIP_S * RATE_HZ)) / RATE_HZ
    note = np.minimum((at_s / 0.2).astype(int), 9)
    pitch_hz, level = rng.uniform(120, 900, 10)[note], rng.uniform(0.02, 0.3, 10)[note]
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    tones = sum(np.sin(k * phase) / k for k in range(1, 6)) * level
    swell = np.exp(-(((at_s - rng.uniform(0.3, 1.7)) / 0.25) ** 2))
    return (tones + 0.05 * swell * rng.standard_normal(len(at_s))).astype(np.float32)


def made_clips(codec: MelPCA, audios: list[np.ndarray]) -> list[dict[str, Any]]:
    """The samples of the training shard; what is seen and said is random and a clip's own."""
    samples = []
    for number, audio in enumerate(audios):
        rng = np.random.default_rng([1, number])
        task = TASKS[number % len(TASKS)]
        latents = codec.encode(torch.from_numpy(audio)[None])[0].numpy()
        seen = task != "tts"
        visual = rng.standard_normal((20, 1280), np.float32) if seen else None
        motion = rng.standard_normal((LATENTS, MOTION_DIM), np.float32) if seen else None
        said = (
            np.zeros(LATENTS)
            if task == "v2s"
            else np.repeat(rng.integers(1, INVENTORY_SIZE, 10), 5)
        )
        samples.append(
            {
                "item_id": f"{task}-{number:03d}",
                "task": task,
                "split": "train",
                **_packed("latents", "latent_channels", latents),
                **_packed("visual", "visual_channels", visual),
                **_packed("motion", "motion_channels", motion),
                "phonemes": said.astype(np.int16).tobytes(),
            }
        )
    return samples


def loss_of(model: VSSFlow, batch: Batch) -> float:
    """The flow-matching loss of all clips with every condition, at evenly spaced times."""
    losses = []
    for place in range(TIMES):
        t = torch.full((CLIPS,), (place + 0.5) / TIMES)
        generator = torch.Generator().manual_seed(place)
        with torch.inference_mode():
            found = flow_loss(
                model, batch.latents, batch.conditions, generator=generator, dropout=NO_DROPOUT, t=t
            )
        losses.append(float(found.loss))
    return sum(losses) / TIMES


def correlation(model: VSSFlow, codec: MelPCA, batch: Batch, audios: list[np.ndarray]) -> float:
    """How generated log-mels correlate with those of the clips' audio, over all numbers."""
    generator = torch.Generator().manual_seed(0)
    made = sample(model, batch.conditions, steps=STEPS, guidance=GUIDANCE, generator=generator)
    wanted = log_mel(torch.from_numpy(np.stack(audios)), codec.config.mel)
    found = codec.log_mel(made)[:, : wanted.shape[1]]
    return float(torch.corrcoef(torch.stack([found.flatten(), wanted.flatten()]))[0, 1])


def main() -> None:
    """Makes the clips, trains, and prints loss and correlation on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to make the data; else temporary")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=250)
    options = parser.parse_args()
    config = TrainConfig(
        joint_steps=options.steps,
        mixture_steps=0,
        batch_size=options.batch,
        crop_s=CLIP_S,
        learning_rate=options.rate,
        warmup_steps=100,
        # All of the latents alike at all times: what is learned by heart is the whole.
        times="uniform",
        channels="even",
        device="cpu",
        threads=options.threads,
    )
    torch.set_num_threads(options.threads)
    audios = [made_audio(np.random.default_rng([0, number])) for number in range(CLIPS)]
    codec = MelPCA.fit([torch.from_numpy(audio) for audio in audios])
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        refs = [_write_samples(folder, made_clips(codec, audios))]
        trainer = Trainer(TrainingData(folder, refs, config))
        model, sizes = trainer.model, trainer.model.config
        samples = trainer.data.store.read(range(CLIPS))
        batch = collate(samples, LATENTS, sizes.motion_dim, sizes.visual_dim)
        first, began = loss_of(model, batch), time.perf_counter()
        print(f"{CLIPS} clips, {model.trainable_parameters():,} parameters, loss {first:.3f}")
        while trainer.step < config.steps:
            trainer.train_step()
            if trainer.step % options.every == 0 or trainer.step == config.steps:
                loss = loss_of(model, batch)
                fit = correlation(model, codec, batch, audios)
                print(
                    f"step {trainer.step}: loss {loss:.3f}, {100 * loss / first:.1f} % of start; "
                    f"mel correlation {fit:.3f}; {time.perf_counter() - began:.0f} s; "
                    f"load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
