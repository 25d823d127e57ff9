"""A transformer and a codec that are small enough for tests, and a dataset that they can learn."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.codec import MelPCA, MelPCAConfig
from models.transformer import VSSFlowConfig, seeded
from storage.blobs import Blobs
from storage.workspace import Workspace
from tasks.checkpoint import save_checkpoint
from tasks.snapshot import _packed, _write_samples

CHANNELS, VISUAL_DIM, MOTION_DIM = 4, 6, 3
TASKS = ("v2s", "visual_tts", "tts", "mixture")


def tiny_sizes() -> VSSFlowConfig:
    """Two layers of 32: a step on a few clips takes milliseconds."""
    return VSSFlowConfig(
        layers=2,
        width=32,
        heads=2,
        context_heads=1,
        context_width=32,
        ffn_width=64,
        audio_channels=CHANNELS,
        visual_dim=VISUAL_DIM,
        motion_dim=MOTION_DIM,
        speaker_dim=8,
    )


def tiny_codec() -> MelPCA:
    """A codec fitted on two seconds of noise that swells."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(32_000, generator=generator) * torch.linspace(0, 0.3, 32_000)
    return MelPCA.fit([noise], MelPCAConfig(channels=CHANNELS))


def codec_ref(workspace: Path) -> str:
    """The reference of `tiny_codec` as a blob."""
    from safetensors.torch import save

    state = {name: value.contiguous() for name, value in tiny_codec().state_dict().items()}
    return Blobs(workspace).put_bytes(save(state), ".safetensors")


def made_sample(
    number: int,
    task: str,
    split: str,
    latents: int = 30,
    visual_dim: int = VISUAL_DIM,
    lips_dim: int = 0,
    speaker_dim: int = 0,
    sync_dim: int = 0,
) -> dict[str, Any]:
    """A sample of a dataset shard, whose latents are nearly the same in every sample.

    Where it has a voice, that is one of two speakers, and the sample is told their name.
    """
    rng = np.random.default_rng(number)
    steady = np.linspace(-1, 1, CHANNELS)[None] + 0.05 * rng.normal(size=(latents, CHANNELS))
    seen = task != "tts"
    visual = rng.normal(size=(latents * 2 // 5, visual_dim)) if seen else None
    motion = rng.normal(size=(latents, MOTION_DIM)) if seen else None
    lips = rng.normal(size=(latents, lips_dim)) if lips_dim and task == "visual_tts" else None
    sync = rng.normal(size=(latents, sync_dim)) if sync_dim and seen else None
    name = f"speaker {number % 2}" if speaker_dim and task != "v2s" else None
    voice = np.eye(speaker_dim)[[number % 2]] if name else None
    phonemes = np.zeros(latents, np.int16) if task == "v2s" else rng.integers(1, 9, latents)
    return {
        "item_id": f"{task}-{number:03d}",
        "task": task,
        "split": split,
        **_packed("latents", "latent_channels", steady),
        **_packed("visual", "visual_channels", visual),
        **_packed("motion", "motion_channels", motion),
        **_packed("sync", "sync_channels", sync),
        **_packed("lips", "lips_channels", lips),
        **_packed("speaker", "speaker_channels", voice),
        "speaker_name": name,
        "phonemes": phonemes.astype(np.int16).tobytes(),
    }


def made_dataset(
    workspace: Path,
    per_task: int = 3,
    tasks: tuple[str, ...] = TASKS,
    visual_dim: int = VISUAL_DIM,
    lips_dim: int = 0,
    speaker_dim: int = 0,
    sync_dim: int = 0,
) -> list[str]:
    """The shard references of a dataset with every task in every split."""
    features = {"lips_dim": lips_dim, "speaker_dim": speaker_dim, "sync_dim": sync_dim}
    samples = [
        made_sample(100 * place + number, task, split, 20 + 5 * number, visual_dim, **features)
        for place, split in enumerate(("train", "validation", "test"))
        for task in tasks
        for number in range(per_task)
    ]
    samples.sort(key=lambda sample: sample["item_id"])
    return [_write_samples(str(workspace), samples)]


def made_checkpoint(workspace: Path, scratch: Path) -> tuple[str, str]:
    """The id and reference of a checkpoint of an untrained tiny model."""
    model = seeded(tiny_sizes(), 0)
    return save_checkpoint(Workspace.at(workspace).make(), scratch, model, tiny_codec(), {})
