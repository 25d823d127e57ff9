"""The world's voices against their own sound, and the mouths that follow them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks import world_voices
from tasks.world_content import LEXICON, TEMPLATES, sentence
from tasks.world_espeak import PHONEME, WORD
from tasks.world_espeak import phones_of as espeak_phones
from tasks.world_face import SIDE, draw_look, paint_features, paint_head
from tasks.world_hibari import phones_of as hibari_phones
from tasks.world_mouth import LEAD_S, Mouth, idle_mouths, jittered, mouths
from tasks.world_voices import ENGINES, Mark, NoVoice, Spoken, load_engine, say, voices_here

TEXT = "the small dog waits near this window"


def spoken_by(engine: str) -> Spoken:
    try:
        voice = load_engine(engine).voices[0]
    except NoVoice as error:
        pytest.skip(str(error))
    return say(f"{engine}:{voice}", TEXT)


def test_the_lexicon_has_forty_words_and_no_single_letter() -> None:
    assert len(LEXICON) == len(set(LEXICON)) == 40
    assert all(len(word) > 1 for word in LEXICON)
    generator = np.random.default_rng(0)
    said = {word for _ in range(300) for word in sentence(TEMPLATES[0], generator).split()}
    assert said <= set(LEXICON)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_voice_sounds_inside_its_words_and_nowhere_else(engine: str) -> None:
    spoken = spoken_by(engine)
    assert [word.text for word in spoken.words] == TEXT.split()
    inside = np.zeros(len(spoken.audio), bool)
    for word in spoken.words:
        inside[int(word.start_s * spoken.rate_hz) : int(word.end_s * spoken.rate_hz)] = True
    energy = spoken.audio.astype(np.float64) ** 2
    assert energy[inside].sum() > 0.97 * energy.sum()
    times = [time for mark in spoken.phones for time in (mark.start_s, mark.end_s)]
    assert np.diff(times).min() > -1e-9
    assert [mark.text for mark in spoken.phones[:2]] == ["ð", "ə"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_voice_hisses_when_its_times_say_s_or_z_and_not_a_little_later(engine: str) -> None:
    spoken_by(engine)
    voice = f"{engine}:{load_engine(engine).voices[0]}"
    lags_s = np.arange(-0.1, 0.101, 0.01)
    contrast = np.zeros(len(lags_s))
    for text in (TEXT, "every golden stone stops beside this bird", "today the dog sings"):
        spoken = say(voice, text)
        times_s, hiss_db = hiss(spoken)
        for at, lag_s in enumerate(lags_s):
            inside = np.zeros(len(times_s), bool)
            for mark in spoken.phones:
                if mark.text in ("s", "z"):
                    inside |= (times_s >= mark.start_s + lag_s) & (times_s < mark.end_s + lag_s)
            contrast[at] += hiss_db[inside].mean() - hiss_db[~inside].mean()
    assert abs(lags_s[contrast.argmax()]) < 0.025


def hiss(spoken: Spoken) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Power above 3.5 kHz over that below 1.5 kHz, in dB, every 5 ms."""
    hop = spoken.rate_hz // 200
    blocks = spoken.audio[: len(spoken.audio) // hop * hop].reshape(-1, hop) * np.hanning(hop)
    power = np.abs(np.fft.rfft(blocks, axis=1)) ** 2
    hz = np.fft.rfftfreq(hop, 1 / spoken.rate_hz)
    high, low = power[:, hz > 3500].sum(axis=1), power[:, hz < 1500].sum(axis=1)
    return (np.arange(len(blocks)) + 0.5) / 200, 10 * np.log10((high + 1e-6) / (low + 1e-6))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_voice_says_the_same_whatever_it_said_before(engine: str) -> None:
    first = spoken_by(engine)
    voice = f"{engine}:{load_engine(engine).voices[-1]}"
    say(voice, "every golden bird sings again", 1.3)
    again = spoken_by(engine)
    assert np.array_equal(first.audio, again.audio)
    assert first.phones == again.phones


def test_a_stretched_voice_is_longer() -> None:
    plain, slow = (say("espeak:en-us", TEXT, stretch) for stretch in (1.0, 1.4))
    assert len(slow.audio) / len(plain.audio) == pytest.approx(1.4, abs=0.12)


def test_a_synthesiser_that_is_not_here_is_named_with_its_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> world_voices.Synthesiser:
        raise NoVoice("gone is not here; install it")

    monkeypatch.setitem(ENGINES, "gone", missing)
    found, reasons = voices_here()
    assert "espeak:en-us" in found
    assert reasons["gone"] == "gone is not here; install it"
    with pytest.raises(NoVoice, match="choose from espeak:en-us"):
        say("espeak:klingon", TEXT)
    with pytest.raises(NoVoice, match="synthesiser 'nobody': choose from flite"):
        say("nobody:x", TEXT)


def test_events_of_espeak_at_one_sample_share_the_time_until_the_next() -> None:
    events = [(WORD, 0, ""), (PHONEME, 0, "l"), (PHONEME, 100, "aɪɚ"), (WORD, 300, "")]
    events += [(PHONEME, 300, "z"), (PHONEME, 400, "")]
    assert espeak_phones(events, 100, 500) == [
        (0, Mark("l", 0.0, 1.0)),
        (0, Mark("aɪ", 1.0, 2.0)),
        (0, Mark("ɚ", 2.0, 3.0)),
        (1, Mark("z", 3.0, 4.0)),
    ]


def test_marks_of_hibari_belong_to_the_sounds_beside_them() -> None:
    ends = [0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.9, 2.0]
    assert hibari_phones("bˈO ʧ.", ends) == [
        (0, Mark("b", 0.1, 0.2)),
        (0, Mark("oʊ", 0.2, 0.6)),
        (1, Mark("tʃ", 0.6, 0.7)),
    ]


def test_a_mouth_is_shut_for_lips_that_meet_and_round_for_round_vowels() -> None:
    phones = [Mark(s, 0.5 + 0.12 * k, 0.62 + 0.12 * k) for k, s in enumerate("ɑpɑmiu")]
    middles = np.array([mark.start_s + 0.06 - LEAD_S for mark in phones])
    aperture, width, rounding = mouths(phones, middles).T
    assert min(aperture[0], aperture[2]) > 0.45
    assert max(aperture[1], aperture[3]) < 0.15
    assert width[4] > 0.5 > 0 > width[5]
    assert rounding[5] > 0.7 > 0.3 > rounding[4]
    rest = mouths(phones, np.array([0.0, 2.0]))
    assert np.all(rest[:, 0] < 0.06)


def test_a_mouth_opens_before_its_vowel_begins() -> None:
    times = np.arange(0, 1, 0.001)
    aperture = mouths([Mark("ɑ", 0.5, 0.6)], times)[:, 0]
    half_open_s = times[np.flatnonzero(aperture > aperture.max() / 2)[0]]
    assert 0.33 < half_open_s < 0.48


def test_mouths_differ_and_stay_within_their_bounds() -> None:
    times = np.arange(125) / 25
    one, other = (
        jittered(idle_mouths(times, np.random.default_rng(k)), np.random.default_rng(k))
        for k in (1, 2)
    )
    assert np.ptp(one[:, 0]) > 0.1
    assert not np.allclose(one, other)
    assert one[:, 0].min() >= 0 and one[:, 0].max() <= 1


def test_a_drawn_mouth_opens_as_far_as_it_is_told() -> None:
    look = draw_look(np.random.default_rng(4))
    head, alpha = paint_head(look)
    assert head.shape == (SIDE, SIDE, 3) and alpha.shape == (SIDE, SIDE, 1)
    shut, *open_ = (
        paint_features(head, look, Mouth(aperture, 0, 0), 0, 0) for aperture in (0, 0.3, 0.6, 0.9)
    )
    changed = [np.any(image != shut, axis=2).sum() for image in open_]
    assert 0 < changed[0] < changed[1] < changed[2]


@pytest.mark.weights
def test_the_pipeline_finds_drawn_faces_and_sees_their_mouths_open() -> None:
    import cv2

    from models.faces import mouth_opening
    from tasks.face_networks import DETECTOR, Detector, load_mesh
    from tasks.weights import MissingWeight, locate

    try:
        detect, mesh = Detector(str(locate(DETECTOR))), load_mesh()
    except MissingWeight as error:
        pytest.skip(str(error))
    apertures = (0.0, 0.25, 0.5, 0.8)
    for seed in range(3):
        look = draw_look(np.random.default_rng(seed))
        head, _ = paint_head(look)
        seen = []
        for aperture in apertures:
            image = paint_features(head, look, Mouth(aperture, 0, 0), 0, 0)
            boxes, _ = detect(np.asarray(cv2.resize(image, (256, 256)), np.uint8), 0.6)
            assert len(boxes) == 1
            gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            points, score = mesh(np.asarray(cv2.resize(gray, (128, 128)), np.uint8))
            assert score > 0.9
            seen.append(mouth_opening(points))
        assert np.corrcoef(apertures, seen)[0, 1] > 0.8
