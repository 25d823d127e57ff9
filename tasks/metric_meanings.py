"""What the metrics of `evaluations` mean, in a sentence each; docs/evaluation.md says more."""

MEANINGS: dict[str, str] = {
    "flow_matching_loss": "mean squared error of the predicted velocity, in the latents of the "
    "model's own codec; lower is better, and other codecs have other figures",
    "codec_log_mel_l1_db": "mean distance of log-mel spectra through the codec; lower is better",
    "codec_multi_resolution_stft_db": "mean distance of spectra of several resolutions through the "
    "codec; lower is better",
    "onset_f1": "agreement of the onsets that are heard with true ones, within 50 ms; 1 is best",
    "onset_precision": "share of the onsets that are heard which are true",
    "onset_recall": "share of the true onsets that are heard",
    "onset_lag": "median of how much later than true an onset is heard; 0 is best",
    "onset_shift": "how much later onsets come when the picture comes 0.4 s later; 0.4 is best",
    "pitch_rank_correlation": "Spearman's correlation of an event's true pitch with the frequency "
    "that gains most power; 1 is best, chance 0",
    "decay_rank_correlation": "Spearman's correlation of how long a material rings with how long "
    "it is heard to; 1 is best, chance 0",
    "material_accuracy": "share of strikes that sound most like their own of five "
    "materials; 1 is best",
    "wer_whisper": "share of words that Whisper, without a prompt, hears wrong; lower is better",
    "word_onset_error": "median of how far a word's start is heard from its true start, whatever "
    "the word sounds like; lower is better",
    "lips_word_onset_error": "as `word_onset_error`, where the picture alone tells when words are "
    "said; lower is better",
    "lips_envelope_correlation": "correlation of the mouth's opening with the loudness; the truth "
    "beside it is what can be had",
    "mcd_dtw": "mel-cepstral distance from the recording, frames paired by dynamic time warping; "
    "lower is better",
    "speaker_similarity": "cosine of the voice with that of the recording; the truth beside it is "
    "another recording of the same voice",
    "phantom_speech_rate": "share of items without a text in which speech is heard; 0 is best",
    "phantom_sound_rate": "share of items in which nothing sounds that are audible; 0 is best",
    "loudness_error": "mean distance from the recording's loudness; lower is better",
    "dnsmos_overall": "quality of speech as DNSMOS P.835 estimates it, from 1 to 5",
    "kernel_yamnet_scores": "kernel distance of YAMNet's class scores from the recordings'; lower "
    "is better, and it is no FAD",
    "frechet_yamnet_scores": "Fréchet distance of YAMNet's class scores from the recordings'; "
    "lower is better, and it is no FAD",
    "avbench": "a figure of av-benchmark",
}
"""Meaning by metric; a name that others begin with, such as `wer_whisper`, stands for them."""


def meaning_of(metric: str) -> str | None:
    """What a metric means; None where it is not known here."""
    if metric in MEANINGS:
        return MEANINGS[metric]
    begun = [name for name in MEANINGS if metric.startswith(f"{name}_")]
    return MEANINGS[max(begun, key=len)] if begun else None
