"""Who speaks in a sound, as a vector that two sounds of one voice have nearly in common.

Legend: T samples at 16 kHz, W windows, E = 256 numbers.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, count, index
from tasks.align_words import Span
from tasks.weights import locate

if TYPE_CHECKING:
    from models.speaker import SpeakerNet

WINDOW_S, EVERY_S = 1.6, 0.8
"""Of what the network hears at once, as it was trained; the voices of all windows are averaged."""
LEVEL_DBFS = -30.0
"""RMS of the speech that it hears, so that a voice does not depend on its level."""
SHORTEST_S = 0.4
"""Less speech has no voice to be told."""


def voice_vector(audio16: NDArray[np.float32], spans: Sequence[Span]) -> NDArray[np.float32] | None:
    """The voice (E,), of unit length, of a sound (T,); None where there is too little speech.

    Args:
        audio16: the sound.
        spans: where somebody speaks in it; nothing else is heard.
    """
    import torch

    parts = [audio16[index(s["start_s"], AUDIO_HZ) : index(s["end_s"], AUDIO_HZ)] for s in spans]
    speech = np.concatenate([np.zeros(0, np.float32), *parts])
    power = float(np.mean(np.square(speech, dtype=np.float64))) if len(speech) else 0.0
    if len(speech) < count(SHORTEST_S, AUDIO_HZ) or not power:
        return None
    levelled = speech * np.float32(10 ** (LEVEL_DBFS / 20) / np.sqrt(power))
    with torch.inference_mode():
        voices = load_speaker_net()(torch.from_numpy(windows_of(levelled))).numpy()
    voice = voices.mean(axis=0)
    return voice / np.linalg.norm(voice)


def windows_of(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows (W, WINDOW_S) of speech (T,), which is repeated where it is shorter than one."""
    size, every = count(WINDOW_S, AUDIO_HZ), count(EVERY_S, AUDIO_HZ)
    filled = np.resize(speech, max(len(speech), size))
    return np.stack([filled[at : at + size] for at in range(0, len(filled) - size + 1, every)])


def similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The cosine of two voices (E,) of unit length."""
    return float(first @ second)


@functools.cache
def load_speaker_net() -> "SpeakerNet":
    """The network, loaded once per process."""
    import torch

    from models.speaker import SpeakerNet

    network = SpeakerNet().eval()
    held = torch.load(locate("speaker_net"), map_location="cpu", weights_only=True)["model_state"]
    # What training scaled cosines with is no part of the network.
    network.load_state_dict({k: v for k, v in held.items() if not k.startswith("similarity")})
    return network
