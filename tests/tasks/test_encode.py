"""Latents: as many as the clip's duration says, the same whatever else is in the shard."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from safetensors.torch import load

from models.codec import MelPCA
from models.timeline import LATENT_HZ, count
from storage.blobs import Blobs, hash_in
from storage.catalog import Catalog
from storage.features import read_feature
from storage.ids import hash_of
from storage.stage import ShardRef, ShardTarget
from storage.workspace import Workspace
from tasks.encode import PEAK, STAGE, EncodeConfig, latents_of, load_codec, mixture_audio
from tasks.fit_codec import STAGE as FIT_STAGE
from tasks.fit_codec import FitCodecConfig, fitted_codec
from tasks.mix import render_parents
from tasks.mix_render import flac_bytes
from tests.made_commits import made_row
from tests.made_model import CHANNELS, codec_ref

DURATIONS_S = (0.5, 4.0, 4.01, 4.019, 4.019999, 4.020001, 4.03, 4.05, 0.01)


def put_sound(workspace: Path, duration_s: float, seed: int = 0) -> str:
    noise = np.random.default_rng(seed).normal(0, 0.1, round(duration_s * 16_000))
    sink = io.BytesIO()
    soundfile.write(sink, noise, 16_000, format="FLAC")
    return Blobs(workspace).put_bytes(sink.getvalue(), ".flac")


def run(stage: Any, workspace: Path, items: list[dict[str, Any]], config: Any) -> dict[str, Any]:
    folder = workspace / "scratch" / f"shard-{len(items)}-{items[0]['item_id']}"
    folder.mkdir(parents=True)
    known = {"_fingerprint": "f", "_input_hash": "h"}
    pq.write_table(pa.Table.from_pylist([i | known for i in items]), folder / "items.parquet")
    shard = ShardRef(stage.name, 0, str(folder / "items.parquet"), "r-1")
    result = stage.run(shard, ShardTarget(str(workspace), str(folder)), config)
    return {name: pq.read_table(path).to_pylist() for name, path in result.tables.items()}


def clip(workspace: Path, start_s: float, end_s: float, name: str = "c") -> dict[str, Any]:
    sound = put_sound(workspace, 9.0)
    window = {"item_id": name, "audio_ref": sound, "start_s": start_s, "end_s": end_s}
    return window | {"codec_ref": codec_ref(workspace)}


def latents(workspace: Path, row: dict[str, Any]) -> np.ndarray:
    return read_feature(workspace, row["shard_ref"], row["clip_id"], row["content_hash"])


def test_a_clip_has_the_latents_that_its_duration_says(workspace: Path) -> None:
    items = [
        clip(workspace, start_s, start_s + duration_s, f"{start_s}-{duration_s}")
        for duration_s in DURATIONS_S
        for start_s in (0.0, 1.7)
    ]
    rows = run(STAGE, workspace, items, EncodeConfig())["features"]
    for item, row in zip(items, rows, strict=True):
        duration_s = round(item["end_s"] - item["start_s"], 6)
        assert row["shape"] == [max(1, count(duration_s, LATENT_HZ)), CHANNELS]
        assert row["extractor"] == "mel_pca"
    assert [row["shape"][0] for row in rows[::2]] == [13, 100, 100, 100, 100, 101, 101, 101, 1]


def test_latents_do_not_depend_on_what_shares_the_shard(workspace: Path) -> None:
    one, two = clip(workspace, 0, 2, "a"), clip(workspace, 3, 4, "b")
    (alone,) = run(STAGE, workspace, [one], EncodeConfig())["features"]
    together = run(STAGE, workspace, [one, two], EncodeConfig())["features"][0]
    assert alone["content_hash"] == together["content_hash"]


def test_a_clip_that_ends_beyond_its_sound_is_silent_there(workspace: Path) -> None:
    rows = run(STAGE, workspace, [clip(workspace, 8.0, 10.0)], EncodeConfig())["features"]
    array = latents(workspace, rows[0])
    assert len(array) == 50
    assert np.ptp(array[30:], axis=0).max() < np.ptp(array[:20], axis=0).max() / 10


def mixture(workspace: Path, rate_hz: int, is_stored: bool) -> dict[str, Any]:
    """A row of `mixtures` of noise alone, 2 s long, at a rate, with its file or without."""
    sound = np.random.default_rng(1).normal(0, 0.1, 3 * rate_hz)
    sink = io.BytesIO()
    soundfile.write(sink, sound, rate_hz, format="FLAC")
    ref = Blobs(workspace).put_bytes(sink.getvalue(), ".flac")
    recipe = {
        "version": 2, "mode": "add", "regime": "ambience_only", "rate_hz": rate_hz,
        "duration_s": 2.0, "requested": {"snr_db": None, "loudness_difference_lu": None},
        "speech": None,
        "ambience": {
            "clip_id": "rain", "audio_sha256": hash_in(ref), "start_s": 0.0, "end_s": 3.0,
            "offset_s": 0.4, "loop_s": None, "ducking": None, "devices": [],
        },
        "fade_ms": 15.0, "frame_ms": 30.0,
        "master": {"loudness_lufs": -27.0, "true_peak_dbtp": -2.0},
    }  # fmt: skip
    done = render_parents(str(workspace), recipe)
    mix_ref = Blobs(workspace).put_bytes(flac_bytes(done.mix, rate_hz), ".flac")
    return {
        "mix_id": "mix", "duration_s": 2.0, "mix_ref": mix_ref if is_stored else None,
        "recipe": json.dumps(recipe), "output_sha256": done.sha256(), "rendered_by": "a test",
    }  # fmt: skip


def mixture_item(workspace: Path, row: dict[str, Any]) -> dict[str, Any]:
    made = {"item_id": "mix", "audio_ref": row["output_sha256"], "start_s": 0.0, "end_s": 2.0}
    return made | {"codec_ref": codec_ref(workspace), "_mixture": row}


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_a_mixture_without_a_file_is_rendered_and_has_the_latents_of_its_file(
    workspace: Path, rate_hz: int
) -> None:
    rows = []
    for is_stored in (True, False):
        item = mixture_item(workspace, mixture(workspace, rate_hz, is_stored))
        rows += run(STAGE, workspace, [item | {"item_id": f"mix-{is_stored}"}], EncodeConfig())[
            "features"
        ]
    assert rows[0]["shape"] == [50, CHANNELS]
    assert rows[0]["content_hash"] == rows[1]["content_hash"]


def test_a_mixture_of_48_khz_has_the_sound_of_its_16_khz_in_the_codec(workspace: Path) -> None:
    row = mixture(workspace, 48_000, is_stored=True)
    high, _ = soundfile.read(str(Blobs(workspace).path(row["mix_ref"])), dtype="float32")
    low = mixture_audio(str(workspace), row)
    assert low.shape == (1, 32_000) and low.dtype == np.float32
    spectra = [
        np.abs(np.fft.rfft(sound))[: 2 * 7_000] / len(sound) for sound in (high, low[0])
    ]  # bins of 0.5 Hz, up to 7 kHz
    assert np.abs(spectra[0] - spectra[1]).max() < 0.01 * spectra[0].max()


def test_samples_that_are_not_those_of_the_row_are_a_reject(workspace: Path) -> None:
    row = mixture(workspace, 16_000, is_stored=False) | {"output_sha256": "other"}
    made = run(STAGE, workspace, [mixture_item(workspace, row)], EncodeConfig())
    assert [reject["reason"] for reject in made["rejects"]] == ["content_hash"]


def test_what_is_kept_of_a_mixture_does_not_make_it_pending_again(tmp_path: Path) -> None:
    with Catalog(Workspace.at(tmp_path).make()) as catalog:
        catalog.insert("codecs", [made_row("codecs", codec_id="c", ref="blobs/ab/cd.safetensors")])
        catalog.insert("mixtures", [made_row("mixtures", mix_id="mix", mix_ref="blobs/aa/b.flac")])
        hashes = []
        for change in (
            "mix_ref = NULL, rendered_by = 'other', run_id = 'other'",
            "output_sha256 = 'other'",
            "recipe = recipe",
        ):
            catalog.plan(STAGE, EncodeConfig())
            hashes.append(catalog.value("SELECT _input_hash FROM keyed"))
            catalog.connection.execute(f"UPDATE lake.mixtures SET {change}")
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_codec_is_a_blob_that_loads_and_the_same_each_time(workspace: Path) -> None:
    for name in ("one", "two"):
        (workspace / name).mkdir()
    rows = []
    for name in ("one", "two"):
        own = workspace / name
        sound = put_sound(own, 6.0, seed=3)
        clips = [
            {"audio_ref": sound, "start_s": start_s, "end_s": start_s + length_s}
            for start_s, length_s in ((0.0, 2.0), (2.0, 1.51), (4.0, 0.53))
        ]
        item = {"item_id": "mel_pca", "_clips": clips}
        rows += run(FIT_STAGE, own, [item], FitCodecConfig(channels=8))["codecs"]
    assert rows[0] == rows[1]
    row = rows[0]
    assert (row["channels"], row["latent_hz"], row["sample_rate_hz"]) == (8, 25.0, 16_000)
    assert row["fitted_clips"] == 3
    assert 0 < row["explained_variance"] <= 1
    codec = MelPCA.from_state(load(Blobs(workspace / "one").read(row["ref"])))
    assert codec.channels == 8


def test_latents_at_one_peak_do_not_tell_how_loud_a_sound_is(workspace: Path) -> None:
    codec, peak = load_codec(str(workspace), codec_ref(workspace)), EncodeConfig(loudness="peak")
    loud = np.random.default_rng(0).uniform(-0.8, 0.8, (1, 16_000)).astype(np.float32)
    loud[0, 8_000] = 2 * PEAK
    quiet = loud / np.float32(64)

    def encoded(audio: np.ndarray, config: EncodeConfig) -> np.ndarray:
        return latents_of(audio, 1.0, codec, config)

    kept = EncodeConfig()
    np.testing.assert_array_equal(encoded(quiet, peak), encoded(loud, peak))
    np.testing.assert_array_equal(encoded(loud, peak), encoded(loud / np.float32(2), kept))
    assert np.abs(encoded(quiet, kept) - encoded(loud, kept)).max() > 0.1
    silence = np.zeros_like(loud)
    np.testing.assert_array_equal(encoded(silence, peak), encoded(silence, kept))


def test_the_stage_keeps_loudness_unless_it_is_told_not_to(workspace: Path) -> None:
    item = clip(workspace, 0, 1)
    kept, peak = (
        run(STAGE, workspace, [item | {"item_id": config.loudness}], config)["features"][0]
        for config in (EncodeConfig(), EncodeConfig(loudness="peak"))
    )
    assert kept["content_hash"] != peak["content_hash"]
    # What was encoded before there was a choice stays encoded.
    assert STAGE.fingerprint(EncodeConfig()) == hash_of("encode", 1, {}, {})


def test_latents_that_are_not_normalised_are_the_projections_themselves() -> None:
    noise = torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0))
    noise *= torch.linspace(0.01, 0.5, 32_000)
    ours, own = (
        fitted_codec([noise[0]], FitCodecConfig(channels=8, normalise=normalise))[0]
        for normalise in (True, False)
    )
    assert torch.equal(own.deviations, torch.ones(8))
    torch.testing.assert_close(own.encode(noise), ours.encode(noise) * ours.deviations)
    torch.testing.assert_close(ours.encode(noise)[0].std(0), torch.ones(8))


def test_a_codec_that_is_missing_is_an_error_that_names_the_shard(workspace: Path) -> None:
    item = clip(workspace, 0, 1) | {"codec_ref": "blobs/ab/cd.safetensors"}
    with pytest.raises(FileNotFoundError) as caught:
        run(STAGE, workspace, [item], EncodeConfig())
    assert caught.value.__notes__ == ["stage encode, shard 0, item c"]
