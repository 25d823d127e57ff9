"""Phonemes: which ones, whose, and when."""

import io
import itertools
from pathlib import Path
from typing import Any

import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from models.phoneme_ids import UNKNOWN_ID, normalise, phoneme_id, split
from models.timeline import AUDIO48_HZ, AUDIO_HZ
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.stage import ShardTarget
from storage.workspace import Workspace
from tasks import listen, phonemize, transcribe
from tasks.espeak import (
    Phoneme,
    is_vowel,
    phonemes_of,
    pronounced,
    speak,
    split_phone,
    voice_of,
)
from tasks.phoneme_times import PhonemizeConfig, shared_times
from tasks.phonemize import phoneme_rows
from tasks.voice import VoiceConfig, speech_spans
from tasks.weights import missing_weights

CONFIG = PhonemizeConfig()
SENTENCE = (
    "Today, after two years of negotiations, the United States, together with international "
    "partners, has achieved 25 & it's Dr. Smith's $5.50 — of the U.S."
)


def english(text: str) -> tuple[tuple[str, ...], ...]:
    return speak("en-us", text)


def words_of(text: str, word_s: float = 0.3, gap_s: float = 0.1) -> list[dict[str, Any]]:
    """Rows of `words` of equal length with equal gaps."""
    step_s = word_s + gap_s
    return [
        {"position": i, "word": word, "start_s": i * step_s, "end_s": i * step_s + word_s}
        for i, word in enumerate(text.split())
    ]


def test_phonemes_tile_their_word_exactly() -> None:
    words = words_of(SENTENCE)
    rows = phoneme_rows(words, english, CONFIG)
    assert [row["position"] for row in rows] == list(range(len(rows)))
    for word in words:
        own = [row for row in rows if row["word_position"] == word["position"]]
        if word["word"] == "—":
            assert own == []
            continue
        assert own[0]["start_s"] == word["start_s"]
        assert own[-1]["end_s"] == word["end_s"]
        for left, right in itertools.pairwise(own):
            assert left["end_s"] == right["start_s"]
            assert left["start_s"] < left["end_s"]


def test_every_symbol_of_english_is_one_symbol_of_the_inventory() -> None:
    for row in phoneme_rows(words_of(SENTENCE), english, CONFIG):
        assert split(row["phoneme"]) == [normalise(row["phoneme"])]
        assert phoneme_id(row["phoneme"]) != UNKNOWN_ID


def test_a_known_word_has_its_known_phonemes_and_stress() -> None:
    rows = phoneme_rows(words_of("negotiations"), english, CONFIG)
    assert "".join(row["phoneme"] for row in rows) == "nᵻɡoʊʃɪeɪʃənz"
    assert [row["phoneme"] for row in rows if row["stressed"]] == ["oʊ", "eɪ"]


@pytest.mark.parametrize(
    ("phone", "symbols"),
    [
        ("aɪɚ", ["aɪ", "ɚ"]),
        ("ɔːɹ", ["ɔː", "ɹ"]),
        ("dʒ", ["dʒ"]),
        ("t͡ʃ", ["t͡ʃ"]),
        ("əl", ["ə", "l"]),
        ("n̩", ["n̩"]),
        ("oʊ", ["oʊ"]),
        ("ɔ̃", ["ɔ̃"]),
        ("tʲ", ["tʲ"]),
        ("iə", ["i", "ə"]),
    ],
)
def test_a_phone_splits_into_whole_symbols(phone: str, symbols: list[str]) -> None:
    assert split_phone(phone) == symbols


def test_stress_belongs_to_the_first_vowel_of_a_phone() -> None:
    assert phonemes_of("ˈɔːɹ") == [Phoneme("ɔː", True), Phoneme("ɹ", False)]
    assert phonemes_of("ˌaɪɚ") == [Phoneme("aɪ", True), Phoneme("ɚ", False)]


def test_a_stressed_diphthong_gets_more_time_than_a_consonant() -> None:
    phonemes = [Phoneme("t", False), Phoneme("eɪ", True), Phoneme("ə", False)]
    lengths = [end - start for start, end in shared_times(phonemes, 0.0, 1.0, CONFIG)]
    assert lengths == pytest.approx([1.0 / 4.5, 2.3 / 4.5, 1.2 / 4.5])


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([Phoneme("t", False), Phoneme("iː", True), Phoneme("ə", False)])),
    st.floats(0, 1e4),
    st.floats(0.04, 5),
)
def test_shared_times_are_gapless_and_in_order(
    phonemes: list[Phoneme], start_s: float, length_s: float
) -> None:
    times = shared_times(phonemes, start_s, start_s + length_s, CONFIG)
    assert len(times) == len(phonemes)
    edges = [start_s, *(end for _, end in times)]
    assert edges == sorted(edges)
    assert [start for start, _ in times] == edges[:-1]
    if times:
        assert edges[-1] == start_s + length_s


def test_words_that_espeak_merges_are_spoken_apart() -> None:
    assert len(english("of the")) == 1
    spoken = pronounced(["out", "of", "the", "house"], english)
    assert ["".join(word) for word in spoken][1:3] == ["ʌv", "ðə"]


def test_a_merge_and_an_expansion_do_not_cancel_out() -> None:
    words = ["of", "the", "25", "men"]
    assert len(english(" ".join(words))) == len(words)
    spoken = pronounced(words, english)
    assert "".join(spoken[1]) == "ðə"
    assert "".join(spoken[2]) == "twˈɛntifˈaɪv"
    assert "".join(spoken[3]) == "mˈɛn"


def test_neighbours_matter_where_words_stay_apart() -> None:
    assert pronounced(["a"], english) == [("ˈeɪ",)]
    assert pronounced(["see", "a", "dog"], english)[1] == ("ɐ",)


@pytest.mark.parametrize("text", ["&", "25", "U.S.", "$5.50", "1984.", "e.g."])
def test_what_is_not_a_word_is_read_out_as_one(text: str) -> None:
    ((*phones,),) = pronounced([text], english)
    assert len(phones) >= 2


def test_each_phoneme_knows_its_spoken_word_and_its_written_one() -> None:
    rows = phoneme_rows(words_of("only $5 left"), english, CONFIG)
    own = {(r["word_position"], r["spoken_position"], r["spoken"]) for r in rows}
    assert sorted(own) == [(0, 0, "only"), (1, 0, "five"), (1, 1, "dollars"), (2, 0, "left")]


def test_a_symbol_that_has_no_id_and_a_word_that_no_dictionary_has_are_marked() -> None:
    french = phoneme_rows(words_of("lune"), lambda text: speak("fr-fr", text), CONFIG, "fr")
    assert [(row["phoneme"], row["in_table"]) for row in french][1] == ("y", False)
    assert {row["in_dictionary"] for row in french} == {None}
    english_rows = phoneme_rows(words_of("the vessiflow"), english, CONFIG)
    marks = {row["spoken"]: row["in_dictionary"] for row in english_rows}
    assert marks == {"the": True, "vessiflow": False}


def test_only_what_is_aligned_waits_for_the_sound(workspace: Path) -> None:
    with Catalog(Workspace.at(workspace).make()) as catalog:
        for clip, language in (("a", "en"), ("b", "de")):
            run = {"run_id": "test"}
            times = {"start_s": 1.0, "end_s": 2.0, "duration_s": 1.0, "scene": 0}
            shown = {"clip_id": clip, "source_id": clip, "has_audio": True, "has_picture": False}
            catalog.insert("windows", [run | times | shown])
            ref = {"source_id": clip, "audio16_ref": f"blobs/{clip}.flac", "cuts_s": []}
            catalog.insert("decodes", [run | ref | {"duration_s": 2.0, "decode_cpu_s": 0.0}])
            text = {"clip_id": clip, "text": "so", "language": language, "flags": []}
            catalog.insert("transcripts", [run | text | {"method": "whisper", "model_id": "m"}])
            word = {"clip_id": clip, "position": 0, "word": "so", "start_s": 0.1, "end_s": 0.3}
            catalog.insert("words", [run | word])
        names = ("item_id", "audio16_ref", "start_s", "end_s")

        def read(align: bool) -> list[tuple[Any, ...]]:
            items = catalog.rows(phonemize.STAGE.items, {"align": align})
            return sorted(tuple(item[name] for name in names) for item in items)

        assert read(True) == [("a", "blobs/a.flac", 1.0, 2.0), ("b", None, None, None)]
        assert read(False) == [("a", None, None, None), ("b", None, None, None)]


def test_punctuation_alone_is_silent() -> None:
    assert pronounced(["—", "hello", "..."], english) == [(), ("h", "ə", "l", "ˈoʊ"), ()]


def test_the_same_text_sounds_the_same_after_other_texts() -> None:
    words = SENTENCE.split()
    first = pronounced(words, english)
    speak("fr-fr", "bonjour tout le monde")
    speak.cache_clear()
    assert pronounced(words, english) == first


def test_a_voice_is_found_for_whispers_language_codes() -> None:
    assert voice_of("en") == "en-us"
    assert voice_of("fr") == "fr-fr"
    assert voice_of("de") == "de"
    assert voice_of("tl") is None


def test_french_keeps_its_nasal_vowels() -> None:
    rows = phoneme_rows(words_of("bonjour"), lambda text: speak("fr-fr", text), CONFIG, "fr")
    assert [row["phoneme"] for row in rows][1] == "ɔ̃"
    assert all(is_vowel(row["phoneme"]) for row in rows if row["stressed"])


def cataloged(catalog: Catalog, name: str, path: Path, transcript: str | None) -> None:
    """Puts a sound into the catalog as a source that is one clip."""
    audio, rate_hz = soundfile.read(str(path), dtype="float32", always_2d=True)
    mono = audio.mean(axis=1)[: 8 * rate_hz]
    refs = {}
    for hz in (AUDIO_HZ, AUDIO48_HZ):
        flac = io.BytesIO()
        soundfile.write(flac, soxr.resample(mono, rate_hz, hz), hz, format="FLAC")
        refs[hz] = Blobs(catalog.workspace.root).put_bytes(flac.getvalue(), ".flac")
    whole_s = len(mono) / rate_hz
    run = {"source_id": name, "run_id": "test"}
    catalog.insert(
        "sources",
        [
            run
            | {"uri": name, "size_bytes": 1, "container": "wav", "streams": "[]"}
            | {"has_audio": True, "has_video": False, "transcript": transcript}
        ],
    )
    sound = {"audio16_ref": refs[AUDIO_HZ], "audio48_ref": refs[AUDIO48_HZ], "cuts_s": []}
    catalog.insert("decodes", [run | sound | {"duration_s": whole_s, "decode_cpu_s": 0.0}])
    times = {"start_s": 0.0, "end_s": whole_s, "duration_s": whole_s, "scene": 0}
    shown = {"clip_id": name, "has_audio": True, "has_picture": False}
    spans = speech_spans(soxr.resample(mono, rate_hz, AUDIO_HZ), VoiceConfig())
    catalog.insert("windows", [run | times | shown | {"speech_spans": spans}])


@pytest.mark.weights
def test_sound_becomes_words_and_phonemes_through_the_catalog(
    demo_corpus: Path, workspace: Path, tmp_path: Path
) -> None:
    if missing := [str(error) for error in missing_weights()]:
        pytest.skip(missing[0])
    with Catalog(Workspace.at(workspace).make()) as catalog:
        cataloged(catalog, "shipped", demo_corpus / "librivox/0880.wav", "he was not an ill man")
        cataloged(catalog, "recognised", demo_corpus / "librivox/0930.wav", None)
        cataloged(catalog, "dog", demo_corpus / "animals/dog.mp3", None)
        for module in (listen, transcribe, phonemize):
            pending = catalog.plan(module.STAGE, module.STAGE.config())
            for shard in catalog.cut(pending, tmp_path, "test"):
                folder = tmp_path / f"{shard.stage}-{shard.index}"
                folder.mkdir()
                target = ShardTarget(str(catalog.workspace.root), str(folder))
                result = module.STAGE.run(shard, target, module.STAGE.config())
                assert result.rejected == 0
                catalog.commit(module.STAGE, result)
            assert catalog.plan(module.STAGE, module.STAGE.config()).items == 0
        heard = catalog.rows("SELECT clip_id, has_speech FROM listens ORDER BY clip_id")
        assert [row["has_speech"] for row in heard] == [False, True, True]
        said = catalog.rows("SELECT clip_id, text, method FROM transcripts ORDER BY clip_id")
        assert [(row["clip_id"], row["method"]) for row in said] == [
            ("recognised", "whisper"),
            ("shipped", "shipped"),
        ]
        assert said[1]["text"] == "he was not an ill man"
        outside = """
            SELECT count(*) FROM phonemes p
            JOIN words w ON w.clip_id = p.clip_id AND w.position = p.word_position
            WHERE p.start_s < w.start_s - 0.5 OR p.end_s > w.end_s + 0.5 OR p.end_s <= p.start_s
        """
        assert catalog.value(outside) == 0
        early = """
            SELECT count(*) FROM (
                SELECT start_s < lag(end_s, 1, 0.0) OVER (PARTITION BY clip_id ORDER BY position)
                       AS is_early FROM phonemes) WHERE is_early
        """
        assert catalog.value(early) == 0
        methods = catalog.rows("SELECT clip_id, flag FROM alignments ORDER BY clip_id")
        assert methods == [
            {"clip_id": "recognised", "flag": None},
            {"clip_id": "shipped", "flag": None},
        ]
        ill = "SELECT string_agg(phoneme, '' ORDER BY position) FROM phonemes WHERE clip_id = ?"
        assert "ɪl" in catalog.value(ill + " AND word_position = 4", ["shipped"])
