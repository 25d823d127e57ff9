"""What is heard in one sound: onsets, words, speech, level, quality, tags; the networks of scoring.

Legend: T samples at 16 kHz, P YAMNet patches, C = 521 classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, index
from tasks.align_words import Span
from tasks.dnsmos import load_dnsmos
from tasks.held_out import STRIKE_S, Strike
from tasks.listen import ListenConfig, is_speech, speech_score
from tasks.loudness import ABSOLUTE_GATE_LUFS, loudness_lufs
from tasks.onsets import onset_times
from tasks.recognise import load_whisper
from tasks.voice import VoiceConfig, speech_spans
from tasks.word_errors import compared_words
from tasks.yamnet import load_yamnet, scores_of

if TYPE_CHECKING:
    from faster_whisper.transcribe import Segment

AUDIBLE_LUFS = -50.0
"""What is louder is a sound: the staged world's recordings of nothing have -66 dBFS of noise."""
BEAMS = 5
"""Of Whisper's search."""
REPEATS = 2.4
"""A text that gzip makes so many times shorter repeats itself: the limit of Whisper's authors."""
LOWEST_HZ, HIGHEST_HZ = 60.0, 7000.0
WINDOW = np.hanning(2 * index(STRIKE_S, AUDIO_HZ))[index(STRIKE_S, AUDIO_HZ) :]
"""Through which a strike's spectrum is seen: a strike is loudest where it begins."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is heard in a sound.

    Attributes:
        onsets_s: when something begins.
        words: what Whisper hears, as it is compared; None where it was not asked.
        has_speech: whether voice detector and tagger call it speech.
        loudness_lufs: its loudness; what is gated whole counts as the gate, -70.
        dnsmos: overall opinion; None where it was not asked.
        pitches_hz: pitch at each of the item's strikes.
        logits: (P, C) of YAMNet.
        spans: where the voice detector hears speech.
    """

    onsets_s: tuple[float, ...]
    words: tuple[str, ...] | None
    has_speech: bool
    loudness_lufs: float
    dnsmos: float | None
    pitches_hz: tuple[float, ...]
    logits: NDArray[np.float64]
    spans: Sequence[Span] = ()

    @property
    def is_audible(self) -> bool:
        """Whether there is a sound at all."""
        return self.loudness_lufs > AUDIBLE_LUFS


def hear(
    audio16: NDArray[np.float32],
    *,
    whisper: str = "",
    opinion: bool = False,
    strikes: Sequence[Strike] = (),
) -> Heard:
    """What is heard in a sound (T,).

    Args:
        audio16: the sound.
        whisper: the Whisper model that is asked for words; empty asks none.
        opinion: whether DNSMOS is asked.
        strikes: events whose pitch is looked for.
    """
    spans = speech_spans(audio16, VoiceConfig())
    yamnet = load_yamnet()
    logits = yamnet.logits(audio16)
    score = speech_score(scores_of(logits), yamnet.class_names, spans)
    speech_s = float(sum(span["end_s"] - span["start_s"] for span in spans))
    lufs = loudness_lufs(audio16[None], AUDIO_HZ)
    return Heard(
        onsets_s=tuple(onset_times(audio16, AUDIO_HZ).tolist()),
        words=words_in(audio16, whisper) if whisper else None,
        has_speech=is_speech(speech_s, len(audio16) / AUDIO_HZ, score, ListenConfig()),
        loudness_lufs=ABSOLUTE_GATE_LUFS if lufs is None else lufs,
        dnsmos=load_dnsmos().opinion(audio16).overall if opinion else None,
        pitches_hz=tuple(strike_pitch_hz(audio16, one.time_s) for one in strikes),
        logits=logits,
        spans=spans,
    )


def words_in(audio16: NDArray[np.float32], whisper: str) -> tuple[str, ...]:
    """What a Whisper model hears in a sound (T,), without a prompt, as it is compared.

    It is asked by faster-whisper's own call, with the whole sound: `recognise` is four times as
    fast, but repeats what a codec has blurred until its tokens run out. Where that call repeats
    itself, too, it is asked again without timestamp tokens. Whisper's own mend, to draw words at a
    higher temperature, gives other words each time.
    """
    model = load_whisper(whisper, "cpu", "int8").model
    segments: list[Segment] = []
    for is_untimed in (False, True):
        found, _ = model.transcribe(
            audio16,
            language="en",
            beam_size=BEAMS,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=is_untimed,
        )
        segments = list(found)
        if all(segment.compression_ratio <= REPEATS for segment in segments):
            break
    return tuple(compared_words("".join(segment.text for segment in segments)))


def strike_pitch_hz(audio16: NDArray[np.float32], time_s: float) -> float:
    """The frequency that gains most power in a sound (T,) at a moment, in Hz."""
    bins_hz, gained = gained_power(audio16, time_s)
    gained[(bins_hz < LOWEST_HZ) | (bins_hz > HIGHEST_HZ)] = -np.inf
    return float(bins_hz[np.argmax(gained)])


def gained_power(
    audio16: NDArray[np.float32], time_s: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Frequencies (B,) in Hz, and the power (B,) that a sound (T,) gains there at a moment.

    What sounds before is subtracted, or what rings on from an earlier strike would be found again.
    """
    size = index(STRIKE_S, AUDIO_HZ)
    at = index(max(time_s, 0.0), AUDIO_HZ)
    # Sample k is at k + size; behind the end of a sound that stops too early is silence.
    padded = np.pad(audio16.astype(np.float64), (size, max(0, at + size - len(audio16))))
    before, after = padded[at : at + size], padded[at + size : at + 2 * size]
    power = [np.abs(np.fft.rfft(one * WINDOW, 4 * size)) ** 2 for one in (before, after)]
    return np.fft.rfftfreq(4 * size, 1 / AUDIO_HZ), power[1] - power[0]


def noise_as_loud(audio16: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """White noise (T,) with the power of a sound: what says nothing at the same level."""
    noise = np.random.default_rng(seed).standard_normal(len(audio16))
    return (noise * np.sqrt(np.mean(np.square(audio16, dtype=np.float64)))).astype(np.float32)
