"""Training the learned codec: resumable to the bit, standardised, and one blob in the end."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import mel
from models.codec import Codec
from models.learned_codec import LearnedCodec
from storage.blobs import Blobs
from storage.workspace import Workspace
from tasks import codec_training, encode
from tasks.codec_training import CodecTrainer, Sounds
from tasks.codecs import codec_bytes, codec_from
from tasks.fit_codec import STAGE, FitCodecConfig, clip_sounds
from tests.tasks.test_encode import put_sound, run

CHANNELS = 8
CONFIG = FitCodecConfig(
    codec="learned", channels=CHANNELS, steps=4, batch_size=2, crop_s=0.32, save_every=2
)


def noises(count: int = 3, samples: int = 12_000) -> list[Tensor]:
    """Noise of falling spectrum, each of its own loudness."""
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(count, samples, generator=generator)
    return list(0.02 * white.cumsum(1) * 0.5 ** torch.arange(count)[:, None] % 1 - 0.5)


def sounds_in_memory(audios: list[Tensor]) -> Sounds:
    def read(index: int, start: int, count: int) -> Tensor:
        audio = audios[index][start : start + count]
        return torch.nn.functional.pad(audio, (0, count - len(audio)))

    return Sounds(tuple(len(audio) for audio in audios), read)


def begun(config: FitCodecConfig = CONFIG) -> CodecTrainer:
    trainer = CodecTrainer(config, sounds_in_memory(noises()))
    trainer.begin(trainer.sounds.whole())
    return trainer


def bits(codec: Codec) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in codec.state_dict().items()}


@pytest.fixture(scope="module")
def trained() -> LearnedCodec:
    trainer = begun()
    while trainer.step < CONFIG.steps:
        trainer.train_step()
    return trainer.finish(trainer.sounds.whole())


def test_a_training_that_goes_on_from_a_saved_state_gives_the_same_bits(
    trained: LearnedCodec, tmp_path: Path
) -> None:
    first = begun()
    for _ in range(2):
        first.train_step()
    first.save(tmp_path / "state.pt")
    again = CodecTrainer(CONFIG, sounds_in_memory(noises()))
    assert again.resume(tmp_path / "state.pt") and again.step == 2
    while again.step < CONFIG.steps:
        again.train_step()
    assert bits(again.finish(again.sounds.whole())) == bits(trained)


def test_latents_that_are_not_normalised_are_the_networks_own() -> None:
    trainer = CodecTrainer(replace(CONFIG, normalise=False), sounds_in_memory(noises()))
    codec = trainer.finish(trainer.sounds.whole())
    assert torch.equal(codec.deviations, torch.ones(CHANNELS))


def test_a_process_that_has_encoded_can_train(trained: LearnedCodec) -> None:
    # What the mel front end keeps was then made where nothing is recorded for a gradient.
    mel._window.cache_clear()
    mel._filter_bank.cache_clear()
    with torch.inference_mode():
        trained.encode(noises(1)[0][None])
    assert all(map(math.isfinite, begun().train_step().values()))


def test_without_a_saved_state_there_is_nothing_to_resume(tmp_path: Path) -> None:
    assert not CodecTrainer(CONFIG, sounds_in_memory(noises())).resume(tmp_path / "state.pt")


def test_training_sharpens_a_tone_that_its_mel_bands_blur() -> None:
    config = replace(CONFIG, steps=12, learning_rate=1e-2)
    tone = 0.3 * torch.sin(2 * math.pi * 3000 / 16_000 * torch.arange(16_000))
    trainer = CodecTrainer(config, sounds_in_memory([tone]))
    trainer.begin(trainer.sounds.whole())
    losses = [trainer.train_step()["magnitude"] for _ in range(config.steps)]
    assert losses[-1] < 0.8 * losses[0]


def test_latents_of_the_sounds_that_taught_it_have_mean_0_and_variance_1(
    trained: LearnedCodec,
) -> None:
    latents = torch.cat([trained.encode(audio[None])[0] for audio in noises()])
    torch.testing.assert_close(latents.mean(0), torch.zeros(CHANNELS), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(0), torch.ones(CHANNELS), atol=1e-3, rtol=0)


def test_a_blob_gives_the_same_codec_and_the_same_bytes_again(trained: LearnedCodec) -> None:
    data = codec_bytes(trained)
    read = codec_from(data)
    assert codec_bytes(read) == data
    audio = noises()[0][None]
    assert torch.equal(read.encode(audio), trained.encode(audio))
    assert torch.equal(read.decode(read.encode(audio)), trained.decode(trained.encode(audio)))


def test_crops_depend_on_the_step_alone_and_are_silent_beyond_a_sounds_end() -> None:
    trainer = CodecTrainer(CONFIG, sounds_in_memory([torch.ones(3200)]))
    crops = trainer.crops(7)
    assert crops.shape == (2, 5120)
    assert torch.equal(crops, trainer.crops(7))
    assert not torch.equal(crops, trainer.crops(8))
    assert bool((crops[:, :3200] > 0.4).all()) and bool((crops[:, 3200:] == 0).all())


def test_long_sounds_teach_more_than_short_ones() -> None:
    trainer = CodecTrainer(CONFIG, sounds_in_memory([torch.ones(6400), -torch.ones(57_600)]))
    drawn = [bool(crop[0] > 0) for step in range(100) for crop in trainer.crops(step)]
    assert 0.05 < np.mean(drawn) < 0.16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 10}, "fit_codec.steps=10: mel_pca is not trained here"),
        ({"codec": "audioldm2", "seed": 3}, "fit_codec.seed=3: audioldm2 is not trained here"),
        (
            {"codec": "learned", "pretrained": "there"},
            "learned is fitted here",
        ),
    ],
)
def test_settings_of_another_codec_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitCodecConfig(**settings)


def clips(workspace: Path) -> list[dict[str, Any]]:
    return [
        {"audio_ref": put_sound(workspace, 2.0, seed), "start_s": 0.25, "end_s": 1.5 + seed / 10}
        for seed in range(2)
    ]


def test_a_clip_is_read_from_its_own_start_and_not_beyond_its_end(workspace: Path) -> None:
    import soundfile

    made = clips(workspace)
    sounds = clip_sounds(str(workspace), made)
    assert sounds.samples == (20_000, 21_600)
    path = Blobs(workspace).path(made[1]["audio_ref"])
    whole, _ = soundfile.read(str(path), dtype="float32")
    part = sounds.read(1, 21_000, 1000)
    assert np.array_equal(part[:600], whole[4000 + 21_000 : 4000 + 21_600])
    assert not part[600:].any()


def test_a_killed_stage_goes_on_and_stores_the_codec_of_one_that_was_not_killed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = {"item_id": "learned", "_clips": clips(workspace)}
    (whole,) = run(STAGE, workspace, [item], CONFIG)["codecs"]
    shutil.rmtree(Workspace.at(workspace).path("scratch/training"))
    step, steps_taken = CodecTrainer.train_step, []

    def faltering(trainer: CodecTrainer) -> dict[str, float]:
        steps_taken.append(trainer.step)
        if len(steps_taken) == 4:
            raise KeyboardInterrupt
        return step(trainer)

    monkeypatch.setattr(codec_training.CodecTrainer, "train_step", faltering)
    with pytest.raises(KeyboardInterrupt):
        run(STAGE, workspace, [item | {"item_id": "killed"}], CONFIG)
    (again,) = run(STAGE, workspace, [item | {"item_id": "again"}], CONFIG)["codecs"]
    assert steps_taken == [0, 1, 2, 3, 2, 3]
    assert again["ref"] == whole["ref"]
    assert (whole["channels"], whole["latent_hz"], whole["fitted_clips"]) == (CHANNELS, 25, 2)
    # Until its row is committed the state is all that is left of a training.
    (third,) = run(STAGE, workspace, [item | {"item_id": "third"}], CONFIG)["codecs"]
    assert (third["ref"], len(steps_taken)) == (whole["ref"], 6)


def test_clips_are_encoded_by_the_learned_codec_of_a_blob(
    workspace: Path, trained: LearnedCodec
) -> None:
    (clip, _) = clips(workspace)
    ref = Blobs(workspace).put_bytes(codec_bytes(trained), ".safetensors")
    item = clip | {"item_id": "clip", "codec_ref": ref}
    (row,) = run(encode.STAGE, workspace, [item], encode.EncodeConfig())["features"]
    assert (row["extractor"], row["shape"]) == ("learned", [31, CHANNELS])
