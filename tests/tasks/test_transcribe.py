"""What Whisper hears, the flags of a text, and the preference of a shipped one."""

import re
import wave
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.stage import Stage
from storage.workspace import Workspace
from tasks import clips, decode, listen, probe, transcribe
from tasks.align_words import Word
from tasks.recognise import Heard, Recogniser, load_whisper, recognise
from tasks.recognise import _goes_on as goes_on_behind
from tasks.shipped import Shipped, placed_text
from tasks.transcribe import FLAGS, TranscribeConfig, flags_of, shipped_in, transcript_of
from tasks.voice import VoiceConfig, speech_spans
from tasks.weights import MissingWeight, locate_whisper
from tasks.word_errors import word_errors
from tests.made_catalog import bring_up
from tests.made_rows import row

CONFIG = TranscribeConfig()
SPANS = [{"start_s": 0.0, "end_s": 10.0}]


def words_of(text: str, word_s: float = 0.3, gap_s: float = 0.1) -> list[Word]:
    """Recognised words of equal length with equal gaps."""
    step_s = word_s + gap_s
    return [Word(w, i * step_s, i * step_s + word_s, 0.9) for i, w in enumerate(text.split())]


def heard_of(text: str, word_s: float = 0.3) -> Heard:
    """A sound recognition of a text."""
    return Heard(tuple(words_of(text, word_s)), "en", 1.0, -0.3, 0.05, 1.2)


SOUND = heard_of("had he married a more amiable woman")


def test_a_sound_text_has_no_flag() -> None:
    assert flags_of(SOUND, SPANS, CONFIG) == []


@pytest.mark.parametrize(
    ("heard", "flag"),
    [
        (replace(SOUND, no_speech_score=0.7), "no_speech"),
        (replace(SOUND, avg_logprob=-1.1), "low_logprob"),
        (replace(SOUND, compression_ratio=2.5), "compression"),
        (heard_of("I know I know I know"), "repetition"),
        (heard_of("internationalisation notwithstanding", 0.2), "too_fast"),
        (heard_of("Thanks for watching!"), "phrase"),
    ],
)
def test_each_flag_fires_alone_on_its_own_defect(heard: Heard, flag: str) -> None:
    assert flags_of(heard, SPANS, CONFIG) == [flag]


def test_words_outside_speech_are_flagged() -> None:
    spans = [{"start_s": 0.0, "end_s": 0.8}]
    assert flags_of(SOUND, spans, CONFIG) == ["outside_speech"]


def test_flags_keep_the_order_of_their_list() -> None:
    bad = replace(SOUND, compression_ratio=9.0, no_speech_score=0.9, avg_logprob=-3.0)
    flags = flags_of(bad, [], CONFIG)
    assert flags == ["no_speech", "low_logprob", "compression", "outside_speech"]
    assert set(flags) <= set(FLAGS)


def whole(text: str, heard: Heard) -> Shipped | None:
    """A text that belongs to the whole clip."""
    return placed_text(text, True, 0.0, heard.words, SPANS)


def test_a_shipped_text_is_preferred_and_judged_by_its_agreement() -> None:
    doubtful = replace(SOUND, avg_logprob=-2.0)
    text = "Had he  married a more amiable woman."
    told, words = transcript_of(doubtful, whole(text, doubtful), SPANS, CONFIG)
    assert told["text"] == "Had he married a more amiable woman."
    assert told["method"] == "shipped"
    assert told["flags"] == []
    assert [word["position"] for word in words] == list(range(7))
    wrong = whole("Something else was read out here", SOUND)
    other, _ = transcript_of(SOUND, wrong, SPANS, CONFIG)
    assert (other["method"], other["flags"]) == ("shipped", ["differs"])


def test_a_passage_that_hardly_agrees_is_not_taken_and_says_so() -> None:
    guess = placed_text("he said had he paid a tax on it", False, 0.0, SOUND.words, SPANS)
    assert guess is not None and 0 < guess.match < 0.5
    told, _ = transcript_of(SOUND, guess, SPANS, CONFIG)
    assert (told["text"], told["method"], told["flags"]) == (SOUND.text, "whisper", ["differs"])


def item_of(**said: object) -> dict[str, object]:
    """An item of the stage: the middle ten seconds of half a minute."""
    item = {"start_s": 10.0, "end_s": 20.0, "speech_spans": SPANS, "cues": None}
    return item | {"transcript": None, "covers_source": False, "source_share": 1 / 3} | said


def test_subtitles_come_before_a_text_and_a_text_before_nothing() -> None:
    cue = {"start_s": 10.0, "end_s": 13.0, "language": "en", "text": "Had he married a more"}
    both = item_of(cues=[cue], transcript="had he married a more amiable woman")
    by_cues = shipped_in(both, SOUND, CONFIG)
    assert by_cues is not None and by_cues.method == "shipped_cues"
    by_text = shipped_in(both | {"cues": [cue | {"language": "de"}]}, SOUND, CONFIG)
    assert by_text is not None and by_text.method == "shipped"
    assert shipped_in(item_of(cues=[cue | {"language": "de"}]), SOUND, CONFIG) is None


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """A film of two clips with speech, as far as `listen`."""
    whole = {"source_id": "s", "uri": "/f.mp4", "transcript": None}
    with Catalog(Workspace.at(tmp_path).make()) as made:
        made.insert("files", [row("files", **whole)])
        made.insert("sources", [row("sources", **whole)])
        made.insert("decodes", [row("decodes", source_id="s", duration_s=20.0, audio16_ref="a")])
        for name, start_s in (("c1", 0.0), ("c2", 10.0)):
            times = {"start_s": start_s, "end_s": start_s + 10, "duration_s": 10.0}
            made.insert(
                "windows", [row("windows", clip_id=name, source_id="s", has_audio=True, **times)]
            )
            made.insert("listens", [row("listens", clip_id=name, has_speech=True)])
        yield made


def hashes(catalog: Catalog, stage: Stage) -> dict[str, str]:
    """What decides whether an item of a stage is pending, by item."""
    catalog.plan(stage, stage.config())
    return {r["item_id"]: r["_input_hash"] for r in catalog.rows("FROM keyed")}


def test_a_changed_subtitle_makes_its_clip_pending_and_nothing_else(catalog: Catalog) -> None:
    stages = [module.STAGE for module in (probe, decode, clips, listen, transcribe)]
    before = {stage.name: hashes(catalog, stage) for stage in stages}
    cue = {"start_s": 12.0, "end_s": 13.0, "text": "new", "language": ""}
    catalog.connection.execute("DELETE FROM lake.files")
    catalog.insert("files", [row("files", source_id="s", uri="/f.mp4", cues=[cue])])
    after = {stage.name: hashes(catalog, stage) for stage in stages}
    changed = [
        (stage, item)
        for stage in after
        for item in after[stage]
        if after[stage][item] != before[stage][item]
    ]
    assert changed == [("transcribe", "c2")]
    (cues,) = catalog.rows("SELECT cues FROM keyed WHERE item_id = 'c2'")
    assert cues == {"cues": [cue]}


REFERENCES = {
    "0870": "and mister john dashwood had then leisure to consider how much there might be "
    "prudently in his power to do for them",
    "0880": "he was not an ill disposed young man",
    "0890": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    "0920": "had he married a more a amiable woman he might have been made still more respectable "
    "than he was",
    "0930": "he might even have been made amiable himself",
}


def read_wav(path: Path) -> NDArray[np.float32]:
    """A 16 kHz WAV file (T,)."""
    with wave.open(str(path)) as file:
        assert file.getframerate() == AUDIO_HZ
        return np.frombuffer(file.readframes(-1), "<i2").astype(np.float32) / np.float32(32768)


def words_for_wer(text: str) -> list[str]:
    """Lower-case words; hyphens part them, "Mr." is read out, other marks are dropped."""
    plain = re.sub(r"[^a-z' ]", "", text.lower().replace("-", " ").replace("mr.", "mister"))
    return plain.split()


@pytest.fixture(scope="module")
def heard_lines(demo_corpus: Path) -> dict[str, tuple[Heard, list[dict[str, float]], float]]:
    """Whisper's words, speech spans and length of each LibriVox line."""
    hear = partial(recognise, load_whisper("tiny.en", "cpu", "int8"))
    lines = {}
    for name in REFERENCES:
        audio = read_wav(demo_corpus / f"librivox/{name}.wav")
        spans = speech_spans(audio, VoiceConfig())
        lines[name] = (hear(audio, spans), spans, len(audio) / AUDIO_HZ)
    return lines


@pytest.mark.weights
def test_librivox_lines_are_recognised_below_8_percent_wer(
    heard_lines: dict[str, tuple[Heard, list[dict[str, float]], float]],
) -> None:
    errors, total = 0, 0
    for name, text in REFERENCES.items():
        errors += word_errors(words_for_wer(text), words_for_wer(heard_lines[name][0].text))
        total += len(text.split())
    assert errors / total < 0.08


@pytest.mark.weights
def test_librivox_lines_have_no_flag_and_words_inside_speech(
    heard_lines: dict[str, tuple[Heard, list[dict[str, float]], float]],
) -> None:
    for heard, spans, duration_s in heard_lines.values():
        assert flags_of(heard, spans, CONFIG) == []
        assert heard.words[0].start_s >= spans[0]["start_s"]
        assert heard.words[-1].end_s <= duration_s
        assert heard.language == "en"


@pytest.mark.weights
def test_a_shipped_librivox_line_is_aligned_where_its_words_were_recognised(
    heard_lines: dict[str, tuple[Heard, list[dict[str, float]], float]],
) -> None:
    heard, spans, duration_s = heard_lines["0880"]
    told, words = transcript_of(
        heard, placed_text(REFERENCES["0880"], True, 0.0, heard.words, spans), spans, CONFIG
    )
    assert told["text"] == REFERENCES["0880"]
    assert told["flags"] == []
    young = next(word for word in words if word["word"] == "young")
    assert young["start_s"] == next(w.start_s for w in heard.words if w.word == "young")
    assert words[-1]["end_s"] <= duration_s


@pytest.mark.weights
def test_recognising_twice_gives_the_same_words(
    demo_corpus: Path, heard_lines: dict[str, tuple[Heard, list[dict[str, float]], float]]
) -> None:
    heard, spans, _ = heard_lines["0930"]
    audio = read_wav(demo_corpus / "librivox/0930.wav")
    assert recognise(load_whisper("tiny.en", "cpu", "int8"), audio, spans) == heard


@pytest.mark.parametrize("name", ["enormous", "large-v3", "someone/whisper-of-theirs"])
def test_a_model_that_cannot_be_had_is_named_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeight, match="does not load on cpu as int8") as caught:
        load_whisper(name, "cpu", "int8")
    assert f"transcribe.model {name!r}" in str(caught.value)
    assert "name 'tiny.en', 'base', a folder, or a hub name that you can reach" in str(caught.value)


def test_a_hub_name_is_loaded_from_what_the_hub_gave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = tmp_path / "models--someone--whisper-of-theirs"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("abc123")
    (repository / "snapshots").mkdir()
    (repository / "snapshots/abc123").symlink_to(locate_whisper("tiny.en"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    loaded = load_whisper.__wrapped__("someone/whisper-of-theirs", "cpu", "int8")
    assert loaded.silence.shape == (1, 1500, 384)


@pytest.fixture(scope="module")
def tiny() -> Recogniser:
    """The default recogniser."""
    return load_whisper("tiny.en", "cpu", "int8")


@pytest.mark.weights
def test_words_invented_on_noise_are_flagged_not_deleted(tiny: Recogniser) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 5 * AUDIO_HZ).astype(np.float32)
    heard = recognise(tiny, noise, [])
    assert not heard.words or flags_of(heard, [], CONFIG)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["amazon-rainforest", "train", "serenity"])
def test_words_invented_on_ambience_are_flagged(
    tiny: Recogniser, demo_corpus: Path, name: str
) -> None:
    import soundfile

    sound, rate_hz = soundfile.read(demo_corpus / f"ambience/{name}.ogg", stop=480_000)
    audio = sound.mean(axis=1)[:: round(rate_hz / AUDIO_HZ)].astype(np.float32)[: 10 * AUDIO_HZ]
    spans = speech_spans(audio, VoiceConfig())
    heard = recognise(tiny, audio, spans)
    assert not heard.words or flags_of(heard, spans, CONFIG)


@pytest.mark.weights
def test_a_clip_is_heard_the_same_whatever_was_heard_before_it(
    tiny: Recogniser, demo_corpus: Path, heard_lines: dict[str, tuple[Heard, list, float]]
) -> None:
    for name in ("0930", "0880", "0930"):
        heard, spans, _ = heard_lines[name]
        assert recognise(tiny, read_wav(demo_corpus / f"librivox/{name}.wav"), spans) == heard


@pytest.mark.weights
def test_a_long_recording_is_cut_in_a_pause_and_loses_no_line(
    tiny: Recogniser, demo_corpus: Path
) -> None:
    parts, text = [], ""
    for name, line in list(REFERENCES.items()) * 2:
        parts += [read_wav(demo_corpus / f"librivox/{name}.wav"), np.zeros(8000, np.float32)]
        text += f" {line}"
    audio = np.concatenate(parts)
    heard = recognise(tiny, audio, speech_spans(audio, VoiceConfig()))
    assert len(audio) > 45 * AUDIO_HZ
    errors = word_errors(words_for_wer(text), words_for_wer(heard.text))
    assert errors / len(text.split()) < 0.1
    times = [time for word in heard.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert heard.words[-1].end_s > len(audio) / AUDIO_HZ - 2


@pytest.mark.weights
def test_clips_of_a_recording_take_their_part_of_its_text_and_of_its_subtitles(
    tmp_path: Path, demo_corpus: Path
) -> None:
    import io

    import soundfile

    lines = [read_wav(demo_corpus / f"librivox/{name}.wav") for name in ("0880", "0930")]
    flac = io.BytesIO()
    soundfile.write(flac, np.concatenate(lines), AUDIO_HZ, format="FLAC")
    cut_s, whole_s = len(lines[0]) / AUDIO_HZ, sum(map(len, lines)) / AUDIO_HZ
    text = f"chapter one {REFERENCES['0880']} {REFERENCES['0930']} the end"
    cue = {"start_s": cut_s - 0.2, "end_s": whole_s, "language": "en"}
    cues = {
        "told": None,
        "shown": [cue | {"text": "He might ev'n have been made amiable himself."}],
    }
    with Catalog(Workspace.at(tmp_path).make()) as catalog:
        ref = Blobs(tmp_path).put_bytes(flac.getvalue(), ".flac")
        for source, said in cues.items():
            own = {"source_id": source, "uri": f"/{source}.wav"}
            catalog.insert("files", [row("files", **own, cues=said)])
            catalog.insert("sources", [row("sources", **own, transcript=text)])
            decoded = {"source_id": source, "duration_s": whole_s, "audio16_ref": ref}
            catalog.insert("decodes", [row("decodes", **decoded)])
            for place, times in enumerate(((0.0, cut_s), (cut_s, whole_s))):
                span = dict(zip(("start_s", "end_s"), times, strict=True))
                clip = {"clip_id": f"{source}{place}", "source_id": source, "has_audio": True}
                spans = speech_spans(lines[place], VoiceConfig())
                heard = {"clip_id": clip["clip_id"], "has_speech": True, "speech_spans": spans}
                catalog.insert("windows", [row("windows", **clip, **span)])
                catalog.insert("listens", [row("listens", **heard)])
        bring_up(catalog, transcribe.STAGE)
        found = catalog.rows(
            "SELECT clip_id, text, method, flags FROM transcripts ORDER BY clip_id"
        )
    assert [tuple(said.values()) for said in found] == [
        ("shown0", REFERENCES["0880"], "shipped", []),
        ("shown1", "He might ev'n have been made amiable himself.", "shipped_cues", []),
        ("told0", REFERENCES["0880"], "shipped", []),
        ("told1", REFERENCES["0930"], "shipped", []),
    ]


@pytest.mark.weights
def test_the_multilingual_model_names_the_language_itself(demo_corpus: Path) -> None:
    from tasks.fetch import is_cached
    from tasks.weights import WEIGHTS

    parts = [weight for name, weight in WEIGHTS.items() if name.startswith("whisper-base/")]
    if not all(is_cached(part.fetch_spec) for part in parts):
        pytest.skip("whisper base is not cached: `tasks.weights.locate_whisper('base')` fetches it")
    audio = read_wav(demo_corpus / "librivox/0930.wav")
    heard = recognise(load_whisper("base", "cpu", "int8"), audio, [])
    assert (heard.language, heard.language_score > 0.8) == ("en", True)
    assert word_errors(words_for_wer(REFERENCES["0930"]), words_for_wer(heard.text)) <= 1


@pytest.mark.parametrize(
    ("times_s", "goes_on"),
    [
        ([0, 3, 3, 5.0], True),
        ([0, 3, 3, 4.0], False),
        ([0, 7.0], False),
        ([0, 2, 2, 3.5], False),
        ([], False),
    ],
    ids=["said again", "rounded up", "one sentence", "two sentences", "nothing"],
)
def test_a_second_segment_that_ends_behind_the_stretch_is_no_speech_of_it(
    times_s: list[float], goes_on: bool
) -> None:
    first, word = 50_000, 11
    tokens = [token for time_s in times_s for token in (first + round(time_s / 0.02), word)]
    assert goes_on_behind(tokens, first, duration_s=3.4, room=100) is goes_on


def test_a_text_that_fills_all_its_room_goes_on() -> None:
    assert goes_on_behind([11] * 40, 50_000, duration_s=3.4, room=40)
    assert not goes_on_behind([11] * 39, 50_000, duration_s=3.4, room=40)
