"""What a mixture is made of, for tests: an item of the stage's query, and noise."""

from typing import Any

import numpy as np

from tasks.mix_plan import MixConfig

RATE_HZ = 16_000


def noise(seed: int, seconds: float, amplitude: float = 0.05) -> np.ndarray:
    """White noise, float32 (1, samples)."""
    drawn = np.random.default_rng(seed).standard_normal((1, round(seconds * RATE_HZ)))
    return (amplitude * drawn).astype(np.float32)


def only(regime: str, **changes: Any) -> MixConfig:
    """A configuration of one regime, without devices, laying ambience under speech."""
    plain = {"speech_devices": {}, "modes": {"add": 1.0}}
    return MixConfig(regimes={regime: 1.0}, **(plain | changes))


def item(**changes: Any) -> dict[str, Any]:
    """Speech of 4 s over ambience of 8 s, as the stage's query gives them."""
    made = {
        "item_id": "speech:0",
        "take": 0,
        "split": "train",
        "speech_clip_id": "speech",
        "speech_start_s": 1.0,
        "speech_end_s": 5.0,
        "speech_audio_ref": "blobs/aa/01.flac",
        "speech_spans": [{"start_s": 0.6, "end_s": 1.8}, {"start_s": 2.4, "end_s": 3.6}],
        "speech_has_picture": False,
        "ambience_clip_id": "ambience",
        "ambience_start_s": 0.0,
        "ambience_end_s": 8.0,
        "ambience_audio_ref": "blobs/bb/02.flac",
        "ambience_has_picture": False,
        "room_id": None,
        "room_ref": None,
        "t60_s": None,
    }
    return made | changes
