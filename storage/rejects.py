"""Why an item was left out: the reason codes, and the exception that carries one."""

from typing import Any

REASONS: dict[str, str] = {
    "not_media": "The file is not audio or video; remove it or correct its name.",
    "empty": "The file has no bytes; get a complete copy.",
    "unreadable": "The file could not be opened; check its permissions and the disk.",
    "missing": "The file is gone since it was listed; put it back or build again.",
    "changed": "The file changed since it was listed; build again when it is complete.",
    "truncated": "The file ends early; get a complete copy.",
    "no_streams": "The container holds neither audio nor video that can be decoded.",
    "unsupported": "The codec or pixel format cannot be decoded here; convert the file.",
    "damaged": "The streams are damaged beyond what decoding can bridge; get another copy.",
    "timeout": "Decoding took longer than the wall-time limit; raise the limit or drop the file.",
    "cpu_limit": "Decoding took more CPU than its limit; raise the limit or drop the file.",
    "out_of_memory": "Decoding needed more memory than its limit; raise it or drop the file.",
    "output_too_large": "Decoding wrote more than its limit; raise the limit or drop the file.",
    "crashed": "The decoder crashed on this file; it cost this item only.",
    "bad_truth": "What the manifest says is true of the source cannot be read; mend its JSON.",
    "too_short": "The clip is shorter than the recipe's minimum.",
    "no_speech": "Speech was expected in this clip and none was found.",
    "no_phonemes": "The text has no word that can be pronounced in its language.",
    "level_off": "The achieved level differs from the requested one by more than the tolerance.",
    "forgotten": "The source was taken down; remove the file from the source folder.",
    "no_training_data": "The dataset's training split is empty; add sources or lower split.test.",
    "phoneme_table": "The phoneme ids are of another table; build the dataset or train again.",
    "no_response": "The sound is no room's impulse response: nothing in it rings out; remove it.",
    "no_picture": "The source has no picture to make a soundtrack for.",
    "no_script": "The script has no word that can be spoken; give text or leave it out.",
    "missing_weights": "The network's weights are not here; fetch them, then redrive this reason.",
    "no_voice": "The model cannot speak in the voice that was asked for; name one that it knows.",
    "content_hash": "Stored bytes do not match their recorded hash; redo the stage before.",
}

LIMIT_REASONS = frozenset({"timeout", "cpu_limit", "out_of_memory", "output_too_large"})
"""What a limit ended, which might be done under a higher one."""


class Rejected(Exception):
    """An item that cannot be processed: it becomes a row in `rejects` and the run goes on.

    Args:
        reason: a code from REASONS; any other raises ValueError, because the list is documented.
        message: what is wrong with this item, with the value and the mend.
        facts: what was measured, kept as JSON beside the reason.
    """

    def __init__(self, reason: str, message: str, facts: dict[str, Any] | None = None) -> None:
        """Checks the reason against the documented list."""
        if reason not in REASONS:
            raise ValueError(f"unknown reason code {reason!r}; add it to storage/rejects.py")
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.facts = facts or {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles by its three fields, so that it crosses process borders whole."""
        return (Rejected, (self.reason, self.message, self.facts))
