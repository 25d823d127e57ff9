"""Which voice a soundtrack has: means of known voices, names by their card, recordings as heard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from models.speaker import VoiceTable
from models.timeline import AUDIO_HZ
from models.transformer import seeded
from storage.rejects import Rejected
from tasks import voice_choice
from tasks.align_words import Span
from tasks.checkpoint import Checkpoint, Extras
from tasks.sample_store import SampleStore
from tasks.sandbox import close_zygotes
from tasks.snapshot import _packed, _write_samples
from tasks.sonify_config import SonifyConfig
from tasks.voice_choice import (
    UnknownVoice,
    chosen_voice,
    fit_voices,
    recorded_voice,
    require_voice,
    voice_weights,
)
from tests.made_media import even_times, write_media
from tests.made_model import made_sample, tiny_codec, tiny_sizes

CARD = {"voices": {"names": ["anna", "elizabeth klett"], "size": 8}}


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


def told(number: int, task: str, split: str, name: str | None, voice: list[float]) -> Any:
    packed = _packed("speaker", "speaker_channels", np.array([voice]))
    return made_sample(number, task, split) | packed | {"speaker_name": name}


def test_a_named_voice_is_the_mean_of_that_speakers_training_clips(tmp_path: Path) -> None:
    samples = [
        told(1, "tts", "train", "anna", [1, 0, 0]),
        told(2, "visual_tts", "train", "anna", [0, 1, 0]),
        told(3, "mixture", "train", "anna", [0, 0, 1]),
        told(4, "tts", "test", "anna", [0, 0, 1]),
        told(5, "tts", "train", None, [0, 0, 1]),
        told(6, "tts", "test", "bob", [0, 0, 1]),
        made_sample(7, "v2s", "train"),
    ]
    refs = [_write_samples(str(tmp_path), samples)]
    store = SampleStore(tmp_path, refs, "train")
    table = fit_voices(store, range(len(store)))
    assert table is not None and table.names == ("anna",)
    assert torch.allclose(table.vectors, torch.tensor([[0.5**0.5, 0.5**0.5, 0]]))
    unnamed = _write_samples(str(tmp_path), samples[4:5])
    nobody = fit_voices(SampleStore(tmp_path, [unnamed], "train"), [0])
    assert nobody is not None and nobody.names == () and nobody.vectors.shape == (0, 3)
    # A model that is trained on what has no voice is told none.
    silent = store.column("task").tolist().index("v2s")
    assert fit_voices(store, [silent]) is None


@pytest.mark.parametrize(
    ("card", "config", "said"),
    [
        (
            {},
            SonifyConfig(voice="anna"),
            "voice='anna': the model was not told.*speaker.network",
        ),
        ({}, SonifyConfig(voice_file="a.wav"), "voice_file: the model was not told who speaks"),
        (CARD, SonifyConfig(voice="bob"), "'bob': no speaker of that name.*anna, elizabeth klett"),
    ],
)
def test_a_voice_that_a_model_cannot_have_is_refused_with_those_that_it_can(
    card: dict[str, Any], config: SonifyConfig, said: str
) -> None:
    with pytest.raises(UnknownVoice, match=said):
        require_voice(card, config)


def test_a_name_is_taken_whatever_its_case_and_spaces(tmp_path: Path) -> None:
    table = VoiceTable(CARD["voices"]["names"], 8)
    table.vectors[1] = 1.0
    parts = "id", seeded(tiny_sizes(), 0), tiny_codec()
    known = Checkpoint(*parts, CARD, Extras(voices=table))
    voice = chosen_voice(known, SonifyConfig(voice="Elizabeth  Klett "), tmp_path)
    assert voice is not None and voice.tolist() == [[1.0] * 8]
    assert chosen_voice(known, SonifyConfig(), tmp_path) is None
    with pytest.raises(Rejected, match="was not told") as caught:
        chosen_voice(Checkpoint(*parts, {}), SonifyConfig(voice="anna"), tmp_path)
    assert caught.value.reason == "no_voice"


def test_a_soundtrack_has_one_voice() -> None:
    with pytest.raises(ValueError, match=r"voice='anna' and .*leave one of them out"):
        SonifyConfig(voice="anna", voice_file="a.wav")


def test_a_recording_counts_by_its_bytes_wherever_it_lies(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one.wav", "two.wav", "other.wav"))
    for path, data in ((one, b"a"), (two, b"a"), (other, b"b")):
        path.write_bytes(data)
    first, same, third = (voice_weights(SonifyConfig(voice_file=str(p))) for p in (one, two, other))
    assert first == same != third
    assert voice_weights(SonifyConfig(voice="anna")) == {}
    with pytest.raises(FileNotFoundError, match=r"sonify.voice_file=.*no\.wav: no such file"):
        voice_weights(SonifyConfig(voice_file=str(tmp_path / "no.wav")))


def test_a_recording_is_heard_as_mono_at_16_khz_for_so_long_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[NDArray[np.float32], list[Span]]] = []

    def noted(audio: NDArray[np.float32], spans: list[Span]) -> NDArray[np.float32]:
        heard.append((audio, spans))
        return np.ones(8, np.float32)

    spans: list[Span] = [{"start_s": 0.1, "end_s": 0.9}]
    monkeypatch.setattr(voice_choice, "missing_network", str)
    monkeypatch.setattr(voice_choice, "speech_spans", lambda *_: spans)
    monkeypatch.setattr(voice_choice, "voice_vector", noted)
    monkeypatch.setattr(voice_choice, "LONGEST_S", 1.5)
    seconds = np.arange(2 * 48_000) / 48_000
    tone = 0.4 * np.sin(2 * np.pi * 440 * seconds)
    recording = tmp_path / "voice.flac"
    soundfile.write(recording, np.stack([tone, 0.5 * tone], axis=1), 48_000)
    assert recorded_voice(str(recording), tmp_path).shape == (1, 8)
    ((audio, given),) = heard
    assert given == spans and len(audio) == 1.5 * AUDIO_HZ
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(len(audio)) / AUDIO_HZ)
    np.testing.assert_allclose(audio[800:-800], expected[800:-800], atol=2e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["voice.flac"]

    monkeypatch.setattr(voice_choice, "voice_vector", lambda *_: None)
    text, film = tmp_path / "a.pdf", tmp_path / "film.mp4"
    text.write_bytes(b"%PDF-1.4 of no use" * 99)
    write_media(film, even_times(24, 0.5))
    for path, reason in ((recording, "no_voice"), (text, "not_media"), (film, "no_streams")):
        with pytest.raises(Rejected, match=path.name) as caught:
            recorded_voice(str(path), tmp_path)
        assert caught.value.reason == reason


def test_without_the_network_no_recording_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_choice, "missing_network", lambda: "weights speaker_net: not here")
    with pytest.raises(Rejected, match="speaker_net: not here") as caught:
        recorded_voice(str(tmp_path / "a.wav"), tmp_path)
    assert caught.value.reason == "missing_weights"
