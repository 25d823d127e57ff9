"""Makes one clip of the staged world: its sound with stems, its pictures, and its truth.

Legend: T samples at 48 kHz, F pictures at 25 fps, H = W pixels of a side.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO48_HZ, MOTION_FPS, count, index
from tasks.draws import keyed_generator, rounded
from tasks.world_face import SIDE, paint_features, paint_head
from tasks.world_motion import SPAN_M, Event
from tasks.world_mouth import Mouth, idle_mouths, jittered, mouths
from tasks.world_picture import Image, as_filmed, draw_room, draw_scene, shakes
from tasks.world_plan import ClipPlan, WorldConfig
from tasks.world_sound import level_dbfs, pitch_hz, render, room_noise
from tasks.world_voices import Mark, Spoken, say

SPEECH_DBFS = (-26.0, -20.0)
"""RMS of the words."""
EDGE_S, TAIL_S, PAUSE_S = 0.06, 0.12, 0.25
"""What is kept of a voice's silence before and behind its words; the pause between two texts."""
FREE_S = 0.2
"""Time of a clip that speech leaves free at least."""
LOUD_DB = -30.0
"""Sound counts where it is at most so much quieter than at its loudest."""
PEAK = 0.9
FACE_ALONE, FACE_BESIDE = (0.50, 0.42, 0.56), (0.26, 0.36, 0.42)
"""Where a face stands, as shares of the side: left, from above, and its square's half side."""

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Speech:
    """What is said in a clip: (T,) sound from the clip's start, its text, words and phonemes."""

    audio: Sound
    text: str
    words: tuple[Mark, ...]
    phones: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Tracks:
    """The sound of a clip as 16-bit samples (T,); `mix` is the sum of the others.

    Stems are there where somebody speaks while something else sounds.
    """

    mix: NDArray[np.int16]
    speech: NDArray[np.int16] | None
    sound: NDArray[np.int16] | None
    gain_db: float
    """By how much the sound of things differs from what their speeds say."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip, ready to be written; its pictures are drawn as they are asked for."""

    plan: ClipPlan
    tracks: Tracks
    pictures: Iterator[Image]
    side_px: int
    truth: dict[str, Any]


def make_clip(plan: ClipPlan, config: WorldConfig) -> Clip:
    """A clip of a plan; raises NoVoice where its voice is not here."""
    speech = speak(plan, config) if plan.text else None
    tracks = mix_tracks(plan, speech, config)
    phones = speech.phones if speech else ()
    pictures = draw_pictures(plan, phones, config)
    return Clip(plan, tracks, pictures, config.side_px, truth_of(plan, speech, tracks, config))


def speak(plan: ClipPlan, config: WorldConfig) -> Speech:
    """What is said in a clip: a text, faster where it would not fit, and another where it does."""
    import soxr

    room_s = config.seconds - FREE_S
    first = _trimmed(say(plan.voice, plan.text, plan.stretch))
    if (length_s := _length_s(first)) > room_s:
        faster = plan.stretch * 0.97 * room_s / length_s
        first = _trimmed(say(plan.voice, plan.text, faster))
    said, texts = [first], [plan.text]
    if plan.more_text and _length_s(first) + PAUSE_S < 0.6 * room_s:
        second = _trimmed(say(plan.voice, plan.more_text, plan.stretch))
        if _length_s(first) + PAUSE_S + _length_s(second) <= room_s:
            said, texts = [first, second], [plan.text, plan.more_text]
    whole_s = sum(map(_length_s, said)) + PAUSE_S * (len(said) - 1)
    at_s = rounded(plan.place * max(config.seconds - whole_s - 0.05, 0.0))
    audio = np.zeros(count(config.seconds, AUDIO48_HZ), np.float32)
    words: list[Mark] = []
    phones: list[Mark] = []
    for spoken in said:
        sound = soxr.resample(spoken.audio, spoken.rate_hz, AUDIO48_HZ)
        start = index(at_s, AUDIO48_HZ)
        kept = sound[: len(audio) - start]
        audio[start : start + len(kept)] += kept
        words += _moved(spoken.words, start / AUDIO48_HZ)
        phones += _moved(spoken.phones, start / AUDIO48_HZ)
        at_s += _length_s(spoken) + PAUSE_S
    return Speech(audio, " ".join(texts), tuple(words), tuple(phones))


def mix_tracks(plan: ClipPlan, speech: Speech | None, config: WorldConfig) -> Tracks:
    """The sound of a clip with its stems; the recording's noise is part of what things sound."""
    generator = keyed_generator("world sound", config.seed, plan.number)
    things = render(plan.scene.events, plan.bodies, config.seconds, generator)
    noise = room_noise(config.seconds, generator)
    voice, gain = np.zeros_like(things), 1.0
    if speech is not None:
        level = 10 ** (float(generator.uniform(*SPEECH_DBFS)) / 20)
        voice = speech.audio * np.float32(
            level / math.sqrt(spoken_power(speech.audio, speech.words))
        )
        if plan.snr_db is not None:
            wanted = spoken_power(voice, speech.words) / 10 ** (plan.snr_db / 10)
            gain = math.sqrt(wanted / loud_power(things))
    peak = float(np.abs(voice + gain * things + noise).max())
    down = min(1.0, PEAK / peak)
    speech16 = _to_16_bits(down * voice)
    sound16 = _to_16_bits(down * gain * things + noise)
    mix = (speech16.astype(np.int32) + sound16).clip(-32_768, 32_767).astype(np.int16)
    has_stems = plan.snr_db is not None
    stems = (speech16, sound16) if has_stems else (None, None)
    return Tracks(mix, *stems, gain_db=20 * math.log10(down * gain))


def spoken_power(audio: Sound, words: tuple[Mark, ...]) -> float:
    """The mean power of a voice (T,) within its words."""
    inside = np.zeros(len(audio), bool)
    for word in words:
        inside[index(word.start_s, AUDIO48_HZ) : index(word.end_s, AUDIO48_HZ)] = True
    return float(np.mean(np.square(audio[inside], dtype=np.float64)))


def loud_power(audio: Sound) -> float:
    """The mean power of a sound (T,) in its 30 ms blocks within LOUD_DB of the loudest."""
    size = count(0.03, AUDIO48_HZ)
    blocks = audio[: len(audio) // size * size].reshape(-1, size).astype(np.float64)
    power = np.mean(blocks**2, axis=1)
    return float(power[power >= power.max() * 10 ** (LOUD_DB / 10)].mean())


def draw_pictures(plan: ClipPlan, phones: tuple[Mark, ...], config: WorldConfig) -> Iterator[Image]:
    """The pictures (H, W, 3) of a clip in order."""
    side, frames = config.side_px, count(config.seconds, MOTION_FPS)
    generator = keyed_generator("world picture", config.seed, plan.number)
    room = draw_room(side, generator)
    camera = shakes(frames, plan.film.shake_px * side / 128, generator)
    face = _Face(plan, phones, config, generator) if plan.look else None
    for frame in range(frames):
        image = room.copy()
        draw_scene(image, plan.scene, frame / MOTION_FPS)
        if face is not None:  # in front: a mouth that is hidden would teach nothing
            image = face.laid(image, frame)
        yield as_filmed(image, plan.film, generator, camera[frame])


class _Face:
    """The face of a clip, and where it is and how its mouth stands in each picture."""

    def __init__(
        self,
        plan: ClipPlan,
        phones: tuple[Mark, ...],
        config: WorldConfig,
        generator: np.random.Generator,
    ) -> None:
        assert plan.look is not None
        frames = count(config.seconds, MOTION_FPS)
        times_s = np.arange(frames) / MOTION_FPS
        self._look = plan.look
        self._head, self._alpha = paint_head(plan.look)
        stands = mouths(phones if plan.mouth == "speaks" else (), times_s)
        if plan.mouth == "moves":
            stands = idle_mouths(times_s, generator)
        self.stands = jittered(stands, generator)
        side = config.side_px
        left, top, half = FACE_ALONE if plan.kind in ("speech", "mouthing") else FACE_BESIDE
        half *= float(generator.uniform(0.88, 1.05))
        self._scale = 2 * half * side / SIDE
        sway = shakes(frames, 0.012 * side, generator)
        self._places = sway + np.array([left, top]) * side - half * side
        self._blinks = _blinks(times_s, generator)
        self._gaze = shakes(frames, 0.4, generator)[:, 0].clip(-1, 1)

    def laid(self, image: Image, frame: int) -> Image:
        """A picture (H, W, 3) with the face in it."""
        mouth = Mouth(*map(float, self.stands[frame]))
        blink, gaze = float(self._blinks[frame]), float(self._gaze[frame])
        head = paint_features(self._head, self._look, mouth, blink, gaze)
        x, y = self._places[frame]
        move = np.array([[self._scale, 0, x], [0, self._scale, y]])
        size = (image.shape[1], image.shape[0])
        laid = cv2.warpAffine(head, move, size, flags=cv2.INTER_AREA)
        alpha = cv2.warpAffine(self._alpha, move, size)[:, :, None]
        return (image + (laid - image.astype(np.float32)) * alpha).astype(np.uint8)


def _blinks(times_s: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """(F,) how far the eyes are shut: a blink of a fifth of a second every few seconds."""
    shut = np.zeros(len(times_s))
    at_s = float(generator.exponential(2.5))
    while at_s < times_s[-1]:
        shut = np.maximum(shut, 1 - np.abs(times_s - at_s) / 0.1)
        at_s += 0.4 + float(generator.exponential(2.5))
    return shut.clip(0, 1)


def truth_of(
    plan: ClipPlan, speech: Speech | None, tracks: Tracks, config: WorldConfig
) -> dict[str, Any]:
    """What is true of a clip, as JSON holds it; the stage `truth` reads it back."""
    words = speech.words if speech else ()
    phones = speech.phones if speech else ()
    return {
        "kind": plan.kind,
        "seed": config.seed,
        "number": plan.number,
        "text": speech.text if speech else None,
        "voice": plan.voice or None,
        "template": plan.template or None,
        "mouth": plan.mouth,
        "snr_db": plan.snr_db,
        "speech_stream": 1 if tracks.speech is not None else None,
        "sound_stream": 2 if tracks.sound is not None else None,
        "words": [_mark(mark) for mark in words],
        "phones": [_mark(mark) for mark in phones],
        "events": [_event(event, plan, tracks.gain_db) for event in sorted_events(plan)],
    }


def sorted_events(plan: ClipPlan) -> list[Event]:
    """The events of a clip in order of time."""
    return sorted(plan.scene.events, key=lambda event: (event.start_s, event.kind, event.body))


def _event(event: Event, plan: ClipPlan, gain_db: float) -> dict[str, Any]:
    body = plan.bodies[event.body]
    heard = event.is_heard
    material = {"rain": "water", "drift": "air"}.get(event.kind, body.material)
    return {
        "kind": event.kind,
        "start_s": rounded(event.start_s),
        "end_s": rounded(max(event.end_s, event.start_s)),
        "heard": heard,
        "object": {"rain": "rain", "drift": "cloud"}.get(event.kind, body.shape),
        "body": event.body,
        "other": event.other if event.other >= 0 else None,
        "size_m": None if event.kind == "rain" else rounded(2 * body.radius_m * event.scale),
        "material": material,
        "speed_mps": rounded(event.speed_mps),
        "level_dbfs": rounded(level_dbfs(event) + gain_db) if heard else None,
        "pitch_hz": rounded(pitch_hz(body, event.scale))
        if heard and event.kind != "rain"
        else None,
        "x": rounded(min(max(event.x_m / SPAN_M, 0.0), 1.0)),
    }


def _mark(mark: Mark) -> list[Any]:
    return [mark.text, rounded(mark.start_s), rounded(mark.end_s)]


def _trimmed(spoken: Spoken) -> Spoken:
    """The same without the silence before and behind it, but for a little."""
    start_s = max(spoken.words[0].start_s - EDGE_S, 0.0)
    first = round(start_s * spoken.rate_hz)
    last = round((spoken.words[-1].end_s + TAIL_S) * spoken.rate_hz)
    by_s = -first / spoken.rate_hz
    return Spoken(
        spoken.audio[first:last],
        spoken.rate_hz,
        tuple(_moved(spoken.words, by_s)),
        tuple(_moved(spoken.phones, by_s)),
    )


def _moved(marks: tuple[Mark, ...], by_s: float) -> list[Mark]:
    return [Mark(mark.text, mark.start_s + by_s, mark.end_s + by_s) for mark in marks]


def _length_s(spoken: Spoken) -> float:
    return len(spoken.audio) / spoken.rate_hz


def _to_16_bits(audio: Any) -> NDArray[np.int16]:
    return np.rint(np.clip(audio, -1, 1) * 32_767).astype(np.int16)
