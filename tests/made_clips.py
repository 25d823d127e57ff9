"""A clip of speech and one of sound as the label stage reads them: both pass every gate."""

from typing import Any

SPEECH: dict[str, Any] = {
    "duration_s": 10.0,
    "has_audio": True,
    "has_picture": True,
    "loudness_lufs": -23.0,
    "silence_ratio": 0.1,
    "speech_s": 6.0,
    "has_speech": True,
    "avg_logprob": -0.3,
    "compression_ratio": 1.4,
    "phonemes": 40,
    "bandwidth_hz": 12_000.0,
    "clipping_ratio": 0.0,
    "music_score": 0.01,
    "dnsmos_overall": 3.4,
    "text_flags": 0,
    "on_screen": True,
    "talk_confidence": 0.97,
}
SOUND = SPEECH | {
    "speech_s": 0.0,
    "has_speech": False,
    "avg_logprob": None,
    "compression_ratio": None,
    "phonemes": 0,
    "dnsmos_overall": None,
    "text_flags": None,
    "on_screen": None,
    "talk_confidence": None,
}
