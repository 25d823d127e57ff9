"""Loudness, silence, tags and speech, against sounds whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import AUDIO48_HZ, AUDIO_HZ
from tasks.corpus import TEST_MEDIA
from tasks.dnsmos import Dnsmos, load_dnsmos
from tasks.fetch import cached_path, is_cached
from tasks.listen import (
    ListenConfig,
    heard_as,
    is_speech,
    listen,
    mean_score,
    peak_dbfs,
    silence_ratio,
    speech_score,
    top_tags,
)
from tasks.voice import VoiceConfig, speech_spans
from tasks.weights import missing_weights
from tasks.yamnet import (
    FFT_SAMPLES,
    MEL_BANDS,
    PATCH_FRAMES,
    SPEECH_CLASSES,
    Yamnet,
    load_yamnet,
    log_mel,
    mel_matrix,
    music_columns,
    padded_to_patches,
    patches_of,
    sound_columns,
)

CONFIG = ListenConfig()


def sine(
    duration_s: float, peak: float, frequency_hz: float = 1000.0, rate_hz: int = AUDIO48_HZ
) -> NDArray[np.float32]:
    """A sine (T,) float32."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (peak * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


@pytest.mark.parametrize("samples", [0, 1, 480, AUDIO48_HZ])
def test_silence_has_no_peak(samples: int) -> None:
    silence = np.zeros(samples, np.float32)
    assert peak_dbfs(silence) is None
    assert silence_ratio(silence, AUDIO48_HZ, -50.0) == 1.0


def test_peak_of_half_scale_is_minus_6_dbfs() -> None:
    assert peak_dbfs(np.array([0.1, -0.5], np.float32)) == pytest.approx(-6.0206, abs=1e-3)


def test_half_silent_sound_has_a_silence_ratio_of_one_half() -> None:
    audio = np.concatenate([sine(1.0, 0.1), np.zeros(AUDIO48_HZ, np.float32)])
    assert silence_ratio(audio, AUDIO48_HZ, -50.0) == 0.5


def test_a_frame_is_silent_by_its_rms_not_by_its_peak() -> None:
    just_over, just_under = 10 ** (-46.9 / 20), 10 ** (-47.1 / 20)
    assert silence_ratio(sine(1.0, just_over), AUDIO48_HZ, -50.0) == 0.0
    assert silence_ratio(sine(1.0, just_under), AUDIO48_HZ, -50.0) == 1.0


def test_a_mel_band_hears_the_tone_at_its_centre() -> None:
    matrix = mel_matrix()
    assert matrix.shape == (FFT_SAMPLES // 2 + 1, MEL_BANDS)
    assert not matrix[0].any()
    band = 40
    tone_hz = float(np.argmax(matrix[:, band])) * AUDIO_HZ / FFT_SAMPLES
    features = log_mel(sine(1.0, 0.5, tone_hz, AUDIO_HZ))
    assert set(features.argmax(axis=1)) <= {band - 1, band, band + 1}


@pytest.mark.parametrize(
    ("samples", "patches"), [(0, 1), (15_600, 1), (15_601, 2), (23_280, 2), (160_000, 20)]
)
def test_patches_cover_the_whole_sound(samples: int, patches: int) -> None:
    features = log_mel(padded_to_patches(np.zeros(samples, np.float32)))
    assert patches_of(features).shape == (patches, PATCH_FRAMES, MEL_BANDS)


NAMES = (*SPEECH_CLASSES, "Dog")


def scores_of(*speech: float) -> NDArray[np.float32]:
    """Patches (P, C) with a speech score each, and the rest of the certainty for a dog."""
    scores = np.zeros((len(speech), len(NAMES)), np.float32)
    scores[:, 0] = speech
    scores[:, -1] = 1.0 - scores[:, 0]
    return scores


def test_speech_score_is_taken_where_the_voice_detector_hears_speech() -> None:
    scores = scores_of(0.9, 0.9, 0.0, 0.0, 0.0, 0.0)
    assert speech_score(scores, NAMES, [{"start_s": 0.0, "end_s": 0.4}]) == pytest.approx(0.9)
    assert speech_score(scores, NAMES, []) == pytest.approx(0.3)


def test_tags_are_ranked_from_one_by_mean_score() -> None:
    tags = top_tags(scores_of(0.25, 0.25), NAMES, 2)
    assert [(tag["rank"], tag["label"], tag["score"]) for tag in tags] == [
        (1, "Dog", 0.75),
        (2, "Speech", 0.25),
    ]


@pytest.mark.parametrize(
    ("speech_s", "duration_s", "score", "expected"),
    [(2.0, 5.0, 0.9, True), (2.0, 5.0, 0.1, False), (0.2, 5.0, 0.9, False), (0.4, 10, 0.9, False)],
)
def test_speech_needs_the_voice_detector_and_the_tags(
    speech_s: float, duration_s: float, score: float, expected: bool
) -> None:
    assert is_speech(speech_s, duration_s, score, CONFIG) is expected


CLASSES = (
    "Speech", "Singing", "Humming", "Dog", "Music", "Guitar", "Bell", "Wind chime", "Scary music",
    "Rain", "Silence", "Inside, small room", "Field recording",
)  # fmt: skip


def test_music_is_song_and_instruments_and_sound_is_what_else_is_heard() -> None:
    def names(columns: NDArray[np.intp]) -> list[str]:
        return [CLASSES[column] for column in columns]

    assert names(music_columns(CLASSES)) == ["Singing", "Humming", "Music", "Guitar", "Scary music"]
    assert names(sound_columns(CLASSES)) == ["Dog", "Bell", "Wind chime", "Rain"]


def test_a_group_scores_as_its_loudest_class_in_each_patch() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.0, 0.5, 0.3]], np.float32)
    assert mean_score(scores, np.array([1, 2])) == pytest.approx((0.2 + 0.5) / 2)


@pytest.mark.parametrize(
    ("changes", "mainly"),
    [
        ({}, "sound"),
        ({"music_score": 0.6}, "music"),
        ({"music_score": 0.6, "has_speech": True}, "speech"),
        ({"loudness_lufs": None, "has_speech": True}, "silence"),
    ],
)
def test_a_clip_is_mainly_one_thing(changes: dict[str, object], mainly: str) -> None:
    plain = {"loudness_lufs": -23.0, "has_speech": False, "music_score": 0.1, "sound_score": 0.5}
    assert heard_as(plain | changes) == mainly


@pytest.fixture(scope="module")
def yamnet() -> Yamnet:
    """The tagger, or a skip that says what is missing."""
    if missing := [str(error) for error in missing_weights() if "yamnet" in str(error)]:
        pytest.skip(missing[0])
    return load_yamnet()


@pytest.fixture(scope="module")
def dnsmos() -> Dnsmos:
    """The judge of speech, or a skip that says what is missing."""
    if missing := [str(error) for error in missing_weights() if "dnsmos" in str(error)]:
        pytest.skip(missing[0])
    return load_dnsmos()


def spans_in(audio16: NDArray[np.float32]) -> list[dict[str, float]]:
    """What `voice` hears in a sound alone."""
    return speech_spans(audio16, VoiceConfig())


def read_media(path: Path, rate_hz: int, limit_s: float = 10.0) -> NDArray[np.float32]:
    """The first seconds of a file's sound, mono (T,)."""
    import av

    resampler = av.AudioResampler("flt", "mono", rate_hz)
    with av.open(str(path)) as container:
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    audio = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return audio[: round(limit_s * rate_hz)].astype(np.float32)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "mainly", "tag"),
    [
        ("librivox/0870.wav", "speech", "Speech"),
        ("librivox/0880.wav", "speech", "Speech"),
        ("obama_speech.mp4", "speech", "Speech"),
        ("animals/dog.mp3", "sound", "Dog"),
        ("animals/pig.mp3", "sound", "Stomach rumble"),
        ("animals/rooster.mp3", "sound", "Animal"),
        ("ambience/binaural-low-complex.ogg", "music", "Music"),
        ("ambience/serenity.ogg", "music", "Music"),
        ("ambience/train.ogg", "sound", "Thunderstorm"),
    ],
)
def test_people_speak_and_animals_trains_and_drones_do_not(
    demo_corpus: Path, yamnet: Yamnet, dnsmos: Dnsmos, name: str, mainly: str, tag: str
) -> None:
    has_speech = mainly == "speech"
    audio16, audio48 = (read_media(demo_corpus / name, hz) for hz in (AUDIO_HZ, AUDIO48_HZ))
    heard, tags = listen(audio16, audio48, spans_in(audio16), yamnet, dnsmos, CONFIG)
    assert heard["has_speech"] is has_speech
    assert heard["top_tag"] == tags[0]["label"] == tag
    assert len(tags) == CONFIG.top_k
    assert (heard["speech_score"] > 0.8) is has_speech
    assert heard["heard_as"] == mainly
    assert (heard["dnsmos_overall"] is not None) is has_speech
    assert (heard["dnsmos_signal"] is not None) is has_speech


@pytest.mark.weights
def test_applause_is_sound_and_no_speech(yamnet: Yamnet, dnsmos: Dnsmos) -> None:
    spec = TEST_MEDIA["applause"]
    if not is_cached(spec):
        pytest.skip("crowd.mp3 is not cached: run `.venv/bin/python -m tasks.corpus --fetch`")
    path = cached_path(spec)
    audio16, audio48 = (read_media(path, hz) for hz in (AUDIO_HZ, AUDIO48_HZ))
    heard, tags = listen(audio16, audio48, spans_in(audio16), yamnet, dnsmos, CONFIG)
    assert "Applause" in [tag["label"] for tag in tags[:5]]
    assert not heard["has_speech"]
    assert heard["heard_as"] == "sound"
    assert heard["dnsmos_overall"] is None


@pytest.mark.weights
def test_the_voice_detector_alone_would_call_a_drone_speech(
    demo_corpus: Path, yamnet: Yamnet, dnsmos: Dnsmos
) -> None:
    audio = read_media(demo_corpus / "ambience/binaural-low-complex.ogg", AUDIO_HZ)
    heard, _ = listen(audio, np.repeat(audio, 3), spans_in(audio), yamnet, dnsmos, CONFIG)
    assert heard["speech_s"] > 5.0
    assert not heard["has_speech"]


@pytest.mark.weights
@pytest.mark.parametrize("samples", [0, 100, AUDIO_HZ])
def test_a_clip_of_silence_or_of_no_sound_at_all_is_silence(
    yamnet: Yamnet, dnsmos: Dnsmos, samples: int
) -> None:
    silence = np.zeros(samples, np.float32)
    heard, _ = listen(silence, np.repeat(silence, 3), spans_in(silence), yamnet, dnsmos, CONFIG)
    assert heard["top_tag"] == "Silence"
    assert heard["loudness_lufs"] is None
    assert heard["silence_ratio"] == 1.0
    assert heard["speech_spans"] == []
    assert not heard["has_speech"]


@pytest.mark.weights
def test_listening_twice_gives_the_same_numbers(
    demo_corpus: Path, yamnet: Yamnet, dnsmos: Dnsmos
) -> None:
    audio = read_media(demo_corpus / "animals/frog.mp3", AUDIO_HZ)
    other = read_media(demo_corpus / "animals/cow.mp3", AUDIO_HZ)
    spans = [{"start_s": 0.5, "end_s": 1.5}]
    first = listen(audio, np.repeat(audio, 3), spans, yamnet, dnsmos, CONFIG)
    listen(other, np.repeat(other, 3), spans, yamnet, dnsmos, CONFIG)
    assert listen(audio, np.repeat(audio, 3), spans, yamnet, dnsmos, CONFIG) == first
