"""Codecs and encoders of the hub, on tiny checkpoints of their architecture that are made here.

One file holds them all: what costs is the import of diffusers and transformers, once a process.
"""

import functools
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from models.codec import MelPCA
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import read_feature
from storage.ids import hash_of
from storage.stage import ShardRef, ShardTarget
from storage.workspace import Workspace
from tasks import encode, fit_codec, look, look_mixtures
from tasks.checkpoint import load_checkpoint, save_checkpoint
from tasks.codecs import codec_bytes, codec_fingerprint, codec_from, load_pretrained_codec
from tasks.encode import EncodeConfig
from tasks.encoders import encoder_fingerprint, load_encoder
from tasks.fit_codec import FitCodecConfig
from tasks.look import LookConfig, feature_rows, seen
from tasks.pretrained import library_class, quiet
from tasks.weights import MissingWeight
from tests.made_catalog import bring_up
from tests.made_commits import made_row
from tests.made_model import tiny_codec, tiny_sizes

ODD_SAMPLES = (1, 640, 12_345)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository of each kind, as their libraries save them."""
    root = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with quiet():
        tiny_audioldm2(root / "audioldm2")
        tiny_oobleck(root / "oobleck", [2, 4], 44_100)
        tiny_oobleck(root / "at-25-hz", [8, 80], 16_000)
        for name in ("clip", "siglip"):
            two_towers(name).save_pretrained(root / name)
    return root


def tiny_audioldm2(folder: Path) -> None:
    """AudioLDM2's VAE and vocoder with its rates and channels of latents, and narrow layers."""
    library_class("diffusers", "AutoencoderKL")(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 4, 8),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=8,
    ).save_pretrained(folder / "vae")
    config = library_class("transformers", "SpeechT5HifiGanConfig")(
        model_in_dim=64,
        upsample_initial_channel=32,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        normalize_before=False,
    )
    library_class("transformers", "SpeechT5HifiGan")(config).save_pretrained(folder / "vocoder")


def tiny_oobleck(folder: Path, ratios: list[int], rate_hz: int) -> None:
    library_class("diffusers", "AutoencoderOobleck")(
        encoder_hidden_size=8,
        downsampling_ratios=ratios,
        channel_multiples=[1, 2],
        decoder_channels=8,
        decoder_input_channels=4,
        sampling_rate=rate_hz,
    ).save_pretrained(folder / "vae")


@functools.cache
def two_towers(name: str) -> Any:
    """CLIP or SigLIP, whole, as the hub has them: pictures and text."""
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 2, "projection_dim": 16}
    text = small | {"vocab_size": 20, "max_position_embeddings": 8, "bos_token_id": 1}
    towers = {
        "text_config": text | {"eos_token_id": 2, "pad_token_id": 0},
        "vision_config": small | {"image_size": 224, "patch_size": 32},
    }
    if name == "clip":
        config = library_class("transformers", "CLIPConfig")(**towers, projection_dim=16)
        return library_class("transformers", "CLIPModel")(config).eval()
    config = library_class("transformers", "SiglipConfig")(**towers)
    return library_class("transformers", "SiglipModel")(config).eval()


def noise(batch: int, samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples))


def pictures(frames: int, pixels: int = 224) -> NDArray[np.uint8]:
    shape = (frames, pixels, pixels, 3)
    return np.random.default_rng(frames).integers(0, 256, shape, dtype=np.uint8)


def test_audioldm2_gives_128_channels_at_25_hz_and_whole_latents_for_odd_lengths(hub: Path) -> None:
    codec = load_pretrained_codec("audioldm2", str(hub / "audioldm2"))
    assert (codec.sample_rate_hz, codec.latent_hz, codec.channels) == (16_000, 25.0, 128)
    for samples in ODD_SAMPLES:
        latents = codec.encode(noise(1, samples))
        wanted = -(-samples // 640)
        assert (latents.shape, latents.dtype) == ((1, wanted, 128), torch.float32)
        audio = codec.decode(latents)
        assert (audio.shape, audio.dtype) == ((1, wanted * 640), torch.float32)


def test_audioldm2_is_what_its_own_networks_give(hub: Path) -> None:
    from models.mel import log_mel
    from models.vae_codecs import AUDIOLDM2_MEL

    vae = library_class("diffusers", "AutoencoderKL").from_pretrained(
        hub / "audioldm2/vae", low_cpu_mem_usage=False
    )
    audio = noise(1, 6_400)
    with torch.no_grad():
        grid = vae.encode(log_mel(audio, AUDIOLDM2_MEL)[:, None]).latent_dist.mean  # (1, 8, 10, 16)
    latents = load_pretrained_codec("audioldm2", str(hub / "audioldm2")).encode(audio)
    assert torch.allclose(latents[0, 3], grid[0, :, 3].flatten(), atol=1e-6)


def test_oobleck_has_the_rates_of_its_weights_and_mono_goes_in_and_out(hub: Path) -> None:
    codec = load_pretrained_codec("oobleck", str(hub / "oobleck"))
    assert (codec.sample_rate_hz, codec.latent_hz, codec.channels) == (44_100, 44_100 / 8, 4)
    for samples in (1, 8, 1_001):
        latents = codec.encode(noise(2, samples))
        wanted = -(-samples // 8)
        assert latents.shape == (2, wanted, 4)
        assert codec.decode(latents).shape == (2, wanted * 8)


@pytest.mark.parametrize("name", ["audioldm2", "oobleck"])
def test_a_batch_gives_what_each_item_gives_alone(hub: Path, name: str) -> None:
    codec = load_pretrained_codec(name, str(hub / name))
    audio = noise(3, 4_000)
    latents = codec.encode(audio)
    assert torch.allclose(latents[1:2], codec.encode(audio[1:2]), atol=1e-5)
    assert torch.allclose(codec.decode(latents)[2:], codec.decode(latents[2:]), atol=1e-5)


@pytest.mark.parametrize("name", ["audioldm2", "oobleck"])
def test_a_codec_comes_back_from_its_bytes_without_its_folder(
    hub: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = load_pretrained_codec(name, str(hub / name))
    codec.fit_scale([noise(1, 8_000)[0]])
    data = codec_bytes(codec)
    assert codec_bytes(codec) == data
    assert str(hub).encode() not in data
    monkeypatch.chdir(hub)
    again = codec_from(data)
    assert (again.name, again.channels) == (name, codec.channels)
    latents = codec.encode(noise(1, 2_000))
    assert torch.equal(again.encode(noise(1, 2_000)), latents)
    assert torch.equal(again.decode(latents), codec.decode(latents))
    assert codec_bytes(again) == data


def test_the_dtype_is_that_of_the_networks_and_latents_stay_float32(hub: Path) -> None:
    source = str(hub / "audioldm2")
    exact = load_pretrained_codec("audioldm2", source)
    rough: Any = load_pretrained_codec("audioldm2", source, device="cpu", dtype=torch.bfloat16)
    assert {value.dtype for value in rough.vae.parameters()} == {torch.bfloat16}
    assert rough.latent_mean.dtype == torch.float32
    latents = rough.encode(noise(1, 3_200))
    assert latents.dtype == rough.decode(latents).dtype == torch.float32
    apart = (latents - exact.encode(noise(1, 3_200))).abs().mean()
    assert 0 < apart < 0.05 * latents.abs().mean() + 0.01


def test_mel_pca_has_the_bytes_that_it_had_before_there_were_others() -> None:
    from safetensors.torch import save

    codec = tiny_codec()
    data = codec_bytes(codec)
    assert data == save({name: value.contiguous() for name, value in codec.state_dict().items()})
    assert isinstance(codec_from(data), MelPCA)


def test_a_codec_of_another_talkies_is_refused_by_name() -> None:
    from safetensors.torch import save

    described = json.dumps({"name": "encodec", "networks": {}})
    with pytest.raises(
        ValueError, match="'encodec' is not known here; there are mel_pca, learned, audioldm"
    ):
        codec_from(save({"a": torch.zeros(1)}, {"codec": described}))


@pytest.mark.parametrize(("name", "kind"), [("clip_vit_b16", "clip"), ("siglip_b16", "siglip")])
def test_an_encoder_gives_what_its_own_library_gives(hub: Path, name: str, kind: str) -> None:
    frames = pictures(5)
    prepares = {"clip": "CLIPImageProcessorPil", "siglip": "SiglipImageProcessorPil"}[kind]
    processor = library_class("transformers", prepares)()
    pixels = processor(images=list(frames), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        wanted = two_towers(kind).vision_model(pixels).pooler_output.numpy()
    encoder = load_encoder(name, str(hub / kind), batch_frames=2)
    made = encoder(frames)
    assert (made.shape, made.dtype, encoder.features) == ((5, 32), np.float32, 32)
    assert np.abs(made - wanted).max() < 1e-5
    assert np.abs(encoder(frames[3:4]) - made[3:4]).max() < 1e-5
    assert encoder(frames[:0]).shape == (0, 32)


def test_an_encoder_runs_in_the_dtype_that_it_is_given(hub: Path) -> None:
    source, frames = str(hub / "clip"), pictures(2)
    exact = load_encoder("clip_vit_b16", source)(frames)
    rough = load_encoder("clip_vit_b16", source, device="cpu", dtype=torch.bfloat16)(frames)
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.1


def test_frames_of_another_size_are_resized_and_others_refused(hub: Path) -> None:
    encoder = load_encoder("clip_vit_b16", str(hub / "clip"))
    flat = np.full((1, 112, 112, 3), 90, np.uint8)
    large = np.full((1, 224, 224, 3), 90, np.uint8)
    assert np.abs(encoder(flat) - encoder(large)).max() < 1e-4
    with pytest.raises(ValueError, match=r"\(1, 3, 224, 100\); expected uint8 \(B, 3, H, H\)"):
        encoder(np.ascontiguousarray(large[:, :, :100]))


def test_features_carry_their_extractor(hub: Path) -> None:
    frames = pictures(2)
    config = LookConfig("clip_vit_b16", str(hub / "clip"))
    rows = feature_rows("c", seen("c", frames, frames[..., 0], config), "composed_")["features"]
    assert [row["extractor"] for row in rows] == ["composed_clip_vit_b16", "composed_motion"]
    assert rows[0]["_array"].shape == (2, 32)


def test_a_missing_file_is_named_with_the_mend(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeight) as caught:
        load_pretrained_codec("audioldm2", str(tmp_path))
    assert str(caught.value) == (
        f"fit_codec.pretrained '{tmp_path}': expected vae/config.json and "
        f"vae/diffusion_pytorch_model.safetensors: {tmp_path}/vae/config.json is missing; put "
        "vae/config.json and vae/diffusion_pytorch_model.safetensors of the hub's repository "
        "there, or name that repository"
    )
    (tmp_path / "config.json").write_bytes((hub / "clip/config.json").read_bytes())
    with pytest.raises(MissingWeight, match=r"model\.safetensors is missing; put"):
        encoder_fingerprint("clip_vit_b16", str(tmp_path))


def test_without_a_network_the_hub_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeight) as caught:
        load_pretrained_codec("oobleck", "nobody/nothing-at-all")
    said = str(caught.value)
    assert "expected vae/config.json and vae/diffusion_pytorch_model.safetensors" in said
    assert "`hf download nobody/nothing-at-all --include 'vae/*'` with a network and with" in said
    with pytest.raises(MissingWeight, match="`hf download nobody/nothing` with a network and"):
        load_encoder("siglip_b16", "nobody/nothing")


def test_weights_of_another_network_are_refused(hub: Path) -> None:
    with pytest.raises(ValueError, match=r"not those of a CLIPVisionModel: .*; name a source"):
        load_encoder("clip_vit_b16", str(hub / "siglip"))


def test_a_folder_is_known_by_its_bytes_and_the_hub_by_its_name(hub: Path, tmp_path: Path) -> None:
    here = encoder_fingerprint("clip_vit_b16", str(hub / "clip"))
    assert here != encoder_fingerprint("clip_vit_b16", str(hub / "siglip"))
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((hub / "clip" / name).read_bytes())
    assert encoder_fingerprint("clip_vit_b16", str(tmp_path)) == here
    assert codec_fingerprint("audioldm2") == {
        "vae": "hub:cvssp/audioldm2/vae",
        "vocoder": "hub:cvssp/audioldm2/vocoder",
    }
    assert codec_fingerprint("mel_pca") == {}


def run(stage: Any, workspace: Path, item: dict[str, Any], config: Any) -> dict[str, Any]:
    """The rows of a shard of one item."""
    folder = workspace / "scratch" / stage.name
    folder.mkdir(parents=True)
    item = item | {"_fingerprint": "f", "_input_hash": "h"}
    pq.write_table(pa.Table.from_pylist([item]), folder / "items.parquet")
    shard = ShardRef(stage.name, 0, str(folder / "items.parquet"), "r-1")
    result = stage.run(shard, ShardTarget(str(workspace), str(folder)), config)
    return {name: pq.read_table(path).to_pylist() for name, path in result.tables.items()}


def sound(workspace: Path) -> str:
    sink = io.BytesIO()
    soundfile.write(sink, noise(1, 32_000)[0].numpy(), 16_000, format="FLAC")
    return Blobs(workspace).put_bytes(sink.getvalue(), ".flac")


def test_a_pretrained_codec_encodes_trains_and_decodes_without_its_folder(
    hub: Path, workspace: Path, tmp_path: Path
) -> None:
    config = FitCodecConfig(codec="audioldm2", pretrained=str(hub / "audioldm2"))
    window = {"audio_ref": sound(workspace), "start_s": 0.0, "end_s": 1.0}
    (row,) = run(fit_codec.STAGE, workspace, {"item_id": "audioldm2", "_clips": [window]}, config)[
        "codecs"
    ]
    assert (row["name"], row["channels"], row["latent_hz"]) == ("audioldm2", 128, 25.0)
    assert (row["fitted_clips"], row["explained_variance"]) == (1, None)
    item = window | {"item_id": "c", "codec_ref": row["ref"]}
    (feature,) = run(encode.STAGE, workspace, item, EncodeConfig())["features"]
    assert (feature["extractor"], feature["version"]) == ("audioldm2", 1)
    assert feature["shape"] == [25, 128]
    latents = read_feature(workspace, feature["shard_ref"], "c", feature["content_hash"])
    assert np.abs(latents.mean(0)).max() < 0.01
    assert np.abs(latents.std(0, ddof=1) - 1).max() < 0.01

    from models.transformer import seeded

    codec = encode.load_codec(str(workspace), row["ref"])
    place = Workspace.at(workspace).make()
    made = save_checkpoint(place, tmp_path / "made", seeded(tiny_sizes(), 0), codec, {})
    loaded = load_checkpoint(place.path(made[1]), made[0]).codec
    batch = torch.from_numpy(latents)[None]
    assert torch.equal(loaded.decode(batch), codec.decode(batch))


def test_a_codec_whose_rates_are_not_the_pipelines_is_refused_and_one_of_these_rates_taken(
    hub: Path,
) -> None:
    config = FitCodecConfig(codec="oobleck", pretrained=str(hub / "oobleck"), normalise=False)
    with pytest.raises(ValueError, match=r"44100 Hz and gives 5512 latents.* need 16000 Hz"):
        fit_codec.fitted_codec([], config)
    config = FitCodecConfig(codec="oobleck", pretrained=str(hub / "at-25-hz"), normalise=False)
    codec, facts = fit_codec.fitted_codec([], config)
    assert (codec.name, codec.latent_hz, facts["is_fitted"]) == ("oobleck", 25.0, False)


def test_another_codec_takes_the_place_of_the_one_before_in_every_latent(
    hub: Path, tmp_path: Path
) -> None:
    place = Workspace.at(tmp_path / "workspace").make()
    other = FitCodecConfig(codec="audioldm2", pretrained=str(hub / "audioldm2"))
    with Catalog(place) as catalog:
        window = {"clip_id": "c", "source_id": "s", "start_s": 0.0, "end_s": 1.0, "duration_s": 1.0}
        for table, values in {
            "decodes": {"source_id": "s", "audio16_ref": sound(place.root), "cuts_s": []},
            "windows": window | {"has_audio": True},
            "splits": {"source_id": "s", "split": "train"},
            "listens": {"clip_id": "c", "loudness_lufs": -20.0},
            "kinds": {"clip_id": "c", "kept": True, "task": "v2s"},
        }.items():
            catalog.insert(table, [made_row(table, **values)])
        for config in (FitCodecConfig(), other, FitCodecConfig()):
            assert bring_up(catalog, fit_codec.STAGE, config).items == 1
            assert bring_up(catalog, encode.STAGE).items == 1
            assert catalog.rows("SELECT name FROM codecs") == [{"name": config.codec}]
            assert catalog.rows("SELECT extractor FROM features") == [{"extractor": config.codec}]
        assert bring_up(catalog, fit_codec.STAGE).items == 0
        assert bring_up(catalog, encode.STAGE).items == 0


def test_what_was_done_before_there_was_a_choice_stays_done() -> None:
    fields = {"channels": 64, "generation": 1, "licences": ()}
    assert fit_codec.STAGE.fingerprint(FitCodecConfig()) == hash_of("fit_codec", 1, fields, {})
    weights = encoder_fingerprint("efficientnet_lite0")
    for stage in (look.STAGE, look_mixtures.STAGE):
        assert stage.fingerprint(stage.config()) == hash_of(stage.name, 1, {}, weights)


def test_pretrained_weights_belong_to_what_is_pretrained() -> None:
    with pytest.raises(ValueError, match="mel_pca is fitted here and takes no weights"):
        FitCodecConfig(pretrained="cvssp/audioldm2")
    with pytest.raises(ValueError, match="efficientnet_lite0 has its own weights"):
        LookConfig(pretrained="openai/clip-vit-base-patch16")


class Hostile:
    """A pickle that makes a file where it is loaded without care."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize(
    ("repository", "weights", "name"),
    [
        ("audioldm2", "vae/diffusion_pytorch_model", "diffusion_pytorch_model.bin"),
        ("audioldm2", "vocoder/model", "pytorch_model.bin"),
        ("clip", "model", "pytorch_model.bin"),
    ],
)
def test_a_pickle_among_the_weights_is_not_run(
    hub: Path, tmp_path: Path, repository: str, weights: str, name: str
) -> None:
    folder, trace = tmp_path / "theirs", tmp_path / "was-here"
    shutil.copytree(hub / repository, folder)
    honest = folder / f"{weights}.safetensors"
    honest.unlink()
    torch.save({"weight": Hostile(trace)}, honest.with_name(name))
    with pytest.raises((ValueError, MissingWeight)) as caught:
        if repository == "clip":
            load_encoder("clip_vit_b16", str(folder))
        else:
            load_pretrained_codec("audioldm2", str(folder))
    assert not trace.exists() and "weights_only" not in str(caught.value)
