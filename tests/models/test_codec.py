import math

import pytest
import torch
from torch import Tensor

from models.codec import MelPCA, MelPCAConfig, round_trip_score
from models.mel import log_mel
from models.metrics import log_mel_l1_db, multi_resolution_stft_db


def sweeps(count: int, samples: int = 16_000) -> list[Tensor]:
    """Chirps with noise, each of its own loudness."""
    generator = torch.Generator().manual_seed(0)
    time_s = torch.arange(samples) / 16_000
    audios = []
    for number in range(count):
        noise = torch.randn(samples, generator=generator)
        hz = 150 + 90 * number
        chirp = torch.sin(2 * math.pi * (hz * time_s + 300 * time_s**2))
        audios.append((0.3 * chirp + 0.05 * noise) * 0.7**number)
    return audios


@pytest.fixture(scope="module")
def codec() -> MelPCA:
    return MelPCA.fit(sweeps(6))


@pytest.mark.parametrize(("samples", "latents"), [(1, 1), (640, 1), (641, 2), (16_000, 25)])
def test_there_are_as_many_latents_as_begun_blocks_of_640_samples(
    codec: MelPCA, samples: int, latents: int
) -> None:
    encoded = codec.encode(torch.zeros(2, samples))
    assert encoded.shape == (2, latents, 64)
    assert codec.decode(encoded).shape == (2, latents * 640)


def test_latents_of_the_fitted_audio_have_zero_mean_and_unit_variance(codec: MelPCA) -> None:
    latents = torch.cat([codec.encode(audio[None])[0] for audio in sweeps(6)])
    torch.testing.assert_close(latents.mean(0), torch.zeros(64), atol=2e-3, rtol=0)
    torch.testing.assert_close(latents.std(0), torch.ones(64), atol=2e-3, rtol=0)


def test_round_trip_is_near_exact_at_full_rank() -> None:
    config = MelPCAConfig(channels=320)
    full = MelPCA.fit(sweeps(16), config)
    audio = torch.stack(sweeps(2))
    rebuilt = full.log_mel(full.encode(audio))
    torch.testing.assert_close(rebuilt, log_mel(audio, config.mel), atol=2e-2, rtol=0)
    assert float(full.explained_variance.sum()) == pytest.approx(1, abs=1e-4)


def test_more_channels_explain_more_and_rebuild_better() -> None:
    audio = torch.stack(sweeps(3))
    errors, explained = [], []
    for channels in (4, 16, 64):
        fitted = MelPCA.fit(sweeps(6), MelPCAConfig(channels=channels))
        difference = fitted.log_mel(fitted.encode(audio)) - log_mel(audio, fitted.config.mel)
        errors.append(float(difference.square().mean()))
        explained.append(float(fitted.explained_variance.sum()))
    assert errors == sorted(errors, reverse=True)
    assert explained == sorted(explained)
    assert explained[-1] <= 1


def test_fitting_twice_gives_the_same_bits(codec: MelPCA) -> None:
    again = MelPCA.fit(iter(sweeps(6)))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in _state(codec))


def test_the_order_of_the_audios_does_not_matter(codec: MelPCA) -> None:
    turned = MelPCA.fit(reversed(sweeps(6)))
    audio = torch.stack(sweeps(2))
    torch.testing.assert_close(turned.encode(audio), codec.encode(audio), atol=2e-3, rtol=1e-3)


def test_the_state_dict_is_all_there_is(codec: MelPCA) -> None:
    assert {name for name, _ in _state(codec)} == {
        "mean",
        "components",
        "scale",
        "explained_variance",
    }
    copy = MelPCA.from_state(codec.state_dict())
    audio = torch.stack(sweeps(1))
    assert torch.equal(copy.decode(copy.encode(audio)), codec.decode(codec.encode(audio)))


def test_loudness_survives_the_round_trip(codec: MelPCA) -> None:
    loud, quiet = sweeps(1)[0][None], sweeps(1)[0][None] * 0.1

    def level_db(audio: Tensor) -> float:
        return 20 * math.log10(float(codec.decode(codec.encode(audio)).square().mean().sqrt()))

    assert level_db(loud) - level_db(quiet) == pytest.approx(20, abs=2)


def test_wild_latents_decode_to_finite_audio(codec: MelPCA) -> None:
    assert torch.isfinite(codec.decode(1e4 * torch.ones(1, 5, 64))).all()


def test_silence_alone_can_be_fitted_and_decoded() -> None:
    silent = MelPCA.fit([torch.zeros(6400)])
    latents = silent.encode(torch.zeros(1, 6400))
    assert torch.isfinite(latents).all()
    assert float(silent.decode(latents).abs().max()) < 1e-3


def test_too_little_audio_to_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="too few to fit"):
        MelPCA.fit([torch.zeros(640)])


def test_the_round_trip_score_is_small_on_what_was_fitted(codec: MelPCA) -> None:
    score = round_trip_score(codec, torch.stack(sweeps(2)))
    assert set(score) == {"multi_resolution_stft_db", "log_mel_l1_db"}
    assert 0 < score["log_mel_l1_db"] < 6
    assert 0 < score["multi_resolution_stft_db"] < 12


def test_equal_waveforms_are_zero_decibels_apart() -> None:
    audio = torch.stack(sweeps(2))
    assert torch.equal(multi_resolution_stft_db(audio, audio), torch.zeros(2))
    assert torch.equal(log_mel_l1_db(audio, audio), torch.zeros(2))


def test_a_waveform_and_its_half_are_six_decibels_apart() -> None:
    audio = 0.3 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    assert float(multi_resolution_stft_db(audio, audio / 2)) == pytest.approx(6.02, abs=0.05)
    assert float(log_mel_l1_db(audio, audio / 2)) == pytest.approx(6.02, abs=0.05)


def _state(codec: MelPCA) -> list[tuple[str, Tensor]]:
    return list(codec.state_dict().items())
