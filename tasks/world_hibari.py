"""The neural voice of hibari-tts (Apache-2.0), an optional package.

Its network counts the frames of each phoneme inside; the graph is opened with that count as one
more output. The frames are 25 ms, so its times are coarser than those of the other synthesisers.
"""

from pathlib import Path
from typing import Any

import numpy as np

from models.phoneme_ids import split
from tasks.world_voices import Mark, NoVoice, Spoken, spoken

VOICES = ("heart",)
ENDS = "/CumSum_output_0"
"""The graph's own value: at which frame each phoneme ends."""
RATE_HZ, FRAME_S = 24_000, 0.025
EARLY_FRAMES = 2
"""By how much its sound stands before its count: at this shift its s and z hiss where they should,
as those of the other synthesisers do at none (25 sentences, to 5 ms)."""
LONG_FORMS = {
    "T": "ɾ",
    "A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "ʧ": "tʃ", "ʤ": "dʒ", "ᵊ": "ə",
}  # fmt: skip
"""Symbols of its alphabet (misaki's) that stand for two of IPA."""
STRESS, LENGTH, SPACE, STOP = "ˈˌ", "ː", " ", "."


class Hibari:
    """hibari's voice; raises NoVoice where the package is not here."""

    voices = VOICES

    def __init__(self) -> None:
        """Loads the network."""
        try:
            import hibari
            from hibari import dsp
        except ImportError:
            mend = "pip install hibari-tts==0.2.1, or do without its voice"
            raise NoVoice(f"hibari-tts is not here; {mend}") from None
        self._dsp: Any = dsp
        self._hibari: Any = hibari.Hibari(threads=1)
        self._session = _with_output(Path(self._hibari.model_path).read_bytes(), ENDS)

    def say(self, voice: str, text: str, stretch: float) -> Spoken:
        """What the voice makes of a text."""
        symbols = "".join(self._hibari.phonemize(f"{text}{STOP}"))
        ids = self._hibari.ids(symbols)
        if len(ids) != len(symbols) + 2:
            raise NoVoice(f"hibari knows not all symbols of {symbols!r}; leave out its voice")
        speed = np.asarray([1 / stretch], np.float32)
        given = {"ids": np.asarray([ids], np.int64), "speed": speed}
        answers: Any = self._session.run(None, given)
        *parts, ends = answers
        # Its noise is drawn from a generator of ours, so that a sentence is the same each time.
        audio = self._dsp.synth(*(part[0] for part in parts), np.random.default_rng(0))
        marks = phones_of(symbols, [FRAME_S * (float(end) - EARLY_FRAMES) for end in ends])
        return spoken(np.asarray(audio, np.float32), RATE_HZ, text, marks, "hibari")


def phones_of(symbols: str, ends_s: list[float]) -> list[tuple[int, Mark]]:
    """The phonemes among hibari's symbols, with the numbers of their words.

    A mark of stress is the beginning of the symbol behind it; a mark of length and a space between
    words are the end of the one before. A compound symbol's parts share its time evenly.

    Args:
        symbols: of a sentence.
        ends_s: when each ends; the first is the end of the silence before them.
    """
    phones: list[tuple[int, Mark]] = []
    word, start_s = 0, ends_s[0]
    for symbol, end_s in zip(symbols, ends_s[1:], strict=False):
        if symbol == STOP:
            break
        if symbol in STRESS:
            continue
        parts = [] if symbol in (SPACE, LENGTH) else split(LONG_FORMS.get(symbol, symbol))
        if not parts and phones:
            last, mark = phones[-1]
            phones[-1] = (last, Mark(mark.text, mark.start_s, end_s))
        each_s = (end_s - start_s) / max(len(parts), 1)
        for place, part in enumerate(parts):
            phones.append(
                (word, Mark(part, start_s + place * each_s, start_s + (place + 1) * each_s))
            )
        word, start_s = word + (symbol == SPACE), end_s
    return phones


def _with_output(model: bytes, name: str) -> Any:
    """The session of an ONNX graph that also answers with one of its inner values.

    Protocol buffers that follow each other are one message, so the output is written behind it.
    """
    import onnxruntime

    def field(number: int, content: bytes) -> bytes:
        assert len(content) < 128  # one byte tells the length
        return bytes([number << 3 | 2, len(content)]) + content

    graph, output, its_name = 7, 12, 1
    more = field(graph, field(output, field(its_name, name.encode())))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model + more, options, ["CPUExecutionProvider"])
