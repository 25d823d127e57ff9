"""Voices: windows by counting, the front end by its definition, the network on two voices."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from models.speaker import MELS, SIZE, SpeakerNet
from models.timeline import AUDIO_HZ
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import read_feature
from storage.workspace import Workspace
from tasks import speaker
from tasks.fetch import FetchError, is_cached
from tasks.media import read_audio
from tasks.speaker import STAGE, SpeakerConfig, similarity, voice_vector, windows_of
from tasks.weights import WEIGHTS
from tasks.world_voices import say
from tests.made_catalog import bring_up
from tests.made_commits import made_row

ON = SpeakerConfig(network="ge2e")
SPANS = {"said": (0.2, 1.9), "short": (0.5, 0.8), "silent": (0.0, 2.0)}


@pytest.mark.parametrize(("seconds", "windows"), [(0.5, 1), (1.6, 1), (2.39, 1), (2.4, 2), (4, 4)])
def test_a_window_begins_every_0_8_s_and_short_speech_is_repeated(
    seconds: float, windows: int
) -> None:
    speech = np.arange(round(seconds * AUDIO_HZ), dtype=np.float32)
    found = windows_of(speech)
    assert found.shape == (windows, 25_600)
    assert found[:, 0].tolist() == [12_800 * n for n in range(windows)]
    if seconds < 1.6:
        assert found[0, len(speech)] == 0.0 and found[0, len(speech) + 1] == 1.0


def test_mel_powers_of_a_tone_lie_in_its_band_and_grow_with_its_square() -> None:
    seconds = torch.arange(AUDIO_HZ) / AUDIO_HZ
    tones = torch.stack([torch.sin(2 * torch.pi * hz * seconds) for hz in (300.0, 3000.0)])
    network = SpeakerNet()
    powers = network.mel_powers(tones)
    assert powers.shape == (2, 101, MELS)
    low, high = powers[:, 50].argmax(dim=1).tolist()
    # The peaks of Slaney's 42 edges from 0 to 45.245 mel lie 1.1035 mel apart; 300 Hz are 4.5 mel,
    # 3 kHz are 15 + 27 ln 3 / ln 6.4 = 30.98 mel.
    assert (low, high) == (round(4.5 / 1.1035) - 1, round(30.98 / 1.1035) - 1)
    assert torch.allclose(network.mel_powers(0.1 * tones), 0.01 * powers, rtol=1e-3, atol=1e-9)


def test_a_voice_is_a_unit_vector_for_each_sound() -> None:
    voices = SpeakerNet()(torch.randn(3, 8000))
    assert voices.shape == (3, SIZE)
    assert torch.allclose(voices.norm(dim=1), torch.ones(3)) and bool((voices >= 0).all())


def test_too_little_speech_and_silence_have_no_voice() -> None:
    sound = np.ones(AUDIO_HZ, np.float32)
    assert voice_vector(sound, [{"start_s": 0.1, "end_s": 0.45}]) is None
    assert voice_vector(sound, []) is None
    assert voice_vector(0 * sound, [{"start_s": 0.0, "end_s": 1.0}]) is None


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """A source of noise with a clip of speech, one of very little, and one without."""
    sound = 0.1 * np.random.default_rng(0).standard_normal(3 * AUDIO_HZ)
    soundfile.write(tmp_path / "a.flac", sound, AUDIO_HZ)
    with Catalog(Workspace.at(tmp_path / "workspace").make()) as opened:
        ref = Blobs(opened.workspace.root).put_file(tmp_path / "a.flac", ".flac")
        opened.insert("decodes", [made_row("decodes", source_id="s", audio16_ref=ref)])
        for clip, (start_s, end_s) in SPANS.items():
            window = {"clip_id": clip, "source_id": "s", "start_s": 1.0, "end_s": 3.0}
            opened.insert("windows", [made_row("windows", **window)])
            heard = {"clip_id": clip, "has_speech": clip != "silent"}
            spans = [{"start_s": start_s, "end_s": end_s}]
            opened.insert("listens", [made_row("listens", **heard, speech_spans=spans)])
        yield opened


def test_a_clip_with_speech_has_its_voice_once_and_none_has_one_unless_it_is_asked_for(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = SpeakerNet().eval()
    monkeypatch.setattr(speaker, "load_speaker_net", lambda: network)
    monkeypatch.setattr(speaker, "missing_network", str)
    assert catalog.plan(STAGE, SpeakerConfig()).total_items == 0
    assert bring_up(catalog, STAGE, ON).items == 2
    assert catalog.plan(STAGE, ON).is_idle
    (row,) = catalog.rows("FROM features")
    assert (row["clip_id"], row["extractor"], row["shape"]) == ("said", "ge2e", [1, SIZE])
    root = catalog.workspace.root
    found = read_feature(root, row["shard_ref"], "said", row["content_hash"])
    ref = catalog.value("SELECT audio16_ref FROM decodes")
    sound = read_audio(root, ref, 1.0, 3.0, AUDIO_HZ)[0]
    expected = voice_vector(sound, [{"start_s": 0.2, "end_s": 1.9}])
    assert expected is not None
    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    bring_up(catalog, STAGE, SpeakerConfig())
    assert catalog.value("SELECT count(*) FROM features") == 0


def test_without_its_weights_each_clip_is_a_reject_that_says_what_to_do(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refused(spec: object) -> Path:
        asked.append(spec)
        raise FetchError("no network")

    monkeypatch.setattr("tasks.weights.fetch_member", refused)
    for found_once in (speaker.missing_network, speaker.locate):
        found_once.cache_clear()
    try:
        bring_up(catalog, STAGE, ON)
    finally:
        speaker.missing_network.cache_clear()
    rows = catalog.rows("SELECT item_id, reason, message FROM rejects ORDER BY item_id")
    assert [(row["item_id"], row["reason"]) for row in rows] == [
        ("said", "missing_weights"),
        ("short", "missing_weights"),
    ]
    assert "speaker.network=ge2e: weights speaker_net" in rows[0]["message"]
    assert "tasks.corpus --fetch" in rows[0]["message"]
    assert len(asked) == 1


@pytest.mark.weights
def test_a_voice_is_more_like_itself_than_like_another_whatever_it_says_and_how_loudly() -> None:
    if not is_cached(WEIGHTS["speaker_net"].fetch_spec):
        pytest.skip("Resemblyzer is not cached: run `.venv/bin/python -m tasks.corpus --fetch`")

    def voice(name: str, text: str, level: float = 1.0) -> NDArray[np.float32]:
        spoken = say(name, text, 1.0)
        step = spoken.rate_hz / AUDIO_HZ
        places = np.arange(0, len(spoken.audio) - 1, step)
        sound = np.interp(places, np.arange(len(spoken.audio)), spoken.audio)
        sound = (level * sound).astype(np.float32)
        found = voice_vector(sound, [{"start_s": 0.0, "end_s": len(sound) / AUDIO_HZ}])
        assert found is not None
        return found

    first = voice("espeak:en-us", "the red ball falls under the table")
    again = voice("espeak:en-us", "every golden bird sings today", 0.2)
    other = voice("espeak:en-us+f2", "the red ball falls under the table")
    assert similarity(first, first) == pytest.approx(1, abs=1e-5)
    assert similarity(first, again) > similarity(first, other) + 0.05
    quiet = voice("espeak:en-us", "the red ball falls under the table", 0.1)
    assert similarity(first, quiet) > 0.999
