"""The gates: what a clip must be to enter a dataset, as one list in the order they are asked.

A gate compares one measure with one threshold of the label stage's configuration, for clips of
some kinds. A threshold of null in the recipe turns its gate off. A clip that lacks the measure
(silence has no bandwidth, a transcript may lack a log-probability) passes, except where the gate
asks whether it is there at all. Every gate is asked of every clip of its kinds, also after one
failed, so that the catalog can say what each alone would remove.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SPOKEN = ("speech_on_screen", "speech_off_screen")
SPEAKING = (*SPOKEN, "mixed")
SOUNDING = ("sound", *SPEAKING)
ALL = ("silent", *SOUNDING)

Comparison = Literal["<", "<=", ">", ">=", "is there"]
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition that a clip passes or fails.

    Attributes:
        name: what a clip that fails it is; its `drop_reason`.
        measure: the item's value that is asked about.
        comparison: how a passing value stands to the threshold; "is there" asks for any value.
        field: the threshold in the label stage's configuration; empty for "is there".
        kinds: kinds of clips that are asked.
        title: the measure in words.
        unit: of the measure and the threshold; "share" is printed in percent.
        span: lowest and highest value that an axis should show, where the measure has such.
    """

    name: str
    measure: str
    comparison: Comparison
    field: str
    kinds: tuple[str, ...]
    title: str
    unit: str = ""
    span: tuple[float, float] | None = None

    def check(self, item: Mapping[str, Any], config: Any) -> dict[str, Any]:
        """The gate's verdict on one clip, without its position: name, value, threshold, passed.

        `passed` is None where the gate is off.
        """
        value = item[self.measure]
        threshold = getattr(config, self.field) if self.field else None
        return {
            "gate": self.name,
            "value": None if value is None else float(value),
            "threshold": None if threshold is None else float(threshold),
            "passed": self._passes(value, threshold),
        }

    def _passes(self, value: float | None, threshold: float | None) -> bool | None:
        if self.comparison == "is there":
            return value is not None
        if threshold is None:
            return None
        return value is None or COMPARE[self.comparison](value, threshold)


WHOLE, AUDIBLE_HZ, OPINION = (0.0, 1.0), (0.0, 24_000.0), (1.0, 5.0)
GATES: tuple[Gate, ...] = (
    Gate("no_sound", "loudness_lufs", "is there", "", ALL, "Any sound"),
    Gate("too_quiet", "loudness_lufs", ">=", "min_loudness_lufs", ALL, "Loudness", "LUFS"),
    Gate("silent_sound", "silence_ratio", "<=", "max_silence_sound", ("sound",),
         "Silence in sound", "share", WHOLE),
    Gate("silent_speech", "silence_ratio", "<=", "max_silence_speech", SPEAKING,
         "Silence in speech", "share", WHOLE),
    Gate("narrow_sound", "bandwidth_hz", ">=", "min_bandwidth_sound_hz", ("sound",),
         "Bandwidth of sound", "Hz", AUDIBLE_HZ),
    Gate("narrow_speech", "bandwidth_hz", ">=", "min_bandwidth_speech_hz", SPEAKING,
         "Bandwidth of speech", "Hz", AUDIBLE_HZ),
    Gate("clipped", "clipping_ratio", "<", "max_clipping", SOUNDING, "Clipped samples", "share"),
    Gate("music_in_sound", "music_score", "<=", "max_music_sound", ("sound",),
         "Music in sound", "share", WHOLE),
    Gate("music_in_speech", "music_score", "<=", "max_music_speech", SPEAKING,
         "Music under speech", "share", WHOLE),
    Gate("poor_speech", "dnsmos_overall", ">=", "min_dnsmos", SPOKEN,
         "Speech quality", "DNSMOS", OPINION),
    Gate("no_transcript", "phonemes", ">=", "min_phonemes", SPEAKING, "Phonemes"),
    Gate("unsure_transcript", "avg_logprob", ">", "min_logprob", SPEAKING,
         "Log-probability of text"),
    Gate("repeating_transcript", "compression_ratio", "<=", "max_compression", SPEAKING,
         "Compression of text"),
    Gate("doubtful_transcript", "text_flags", "<=", "max_text_flags", SPEAKING,
         "Signs of invented text"),
)  # fmt: skip
BY_NAME = {gate.name: gate for gate in GATES}


def ask_gates(kind: str, item: Mapping[str, Any], config: Any) -> list[dict[str, Any]]:
    """The verdicts of all gates that ask about a kind, in order, each with its position from 1."""
    return [
        {"position": position} | gate.check(item, config)
        for position, gate in enumerate(GATES, start=1)
        if kind in gate.kinds
    ]


def failed(verdicts: list[dict[str, Any]]) -> list[str]:
    """Names of the gates that a clip failed, in order."""
    return [verdict["gate"] for verdict in verdicts if verdict["passed"] is False]
