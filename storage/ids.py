"""Ids made of content: they never depend on paths, order or row numbers."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

ID_HEX = 32


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values hash equally.

    Dataclasses are taken as their fields. Raises TypeError for what JSON does not hold, and
    ValueError for NaN and infinities, which have no canonical form.
    """
    return ENCODER.encode(value)


def _fields(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


# Kept, because recipes are planned by the ten thousand and making one takes a third of a call; what
# it is given is never circular, and looking for that takes an eighth.
ENCODER = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
    allow_nan=False,
    check_circular=False,
    default=_fields,
)


def hash_of(*parts: Any) -> str:
    """The first 32 hex digits of the sha256 of the parts' canonical JSON."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:ID_HEX]


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes in hex; raises OSError as `open` does."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def clip_id(source_id: str, start_s: float, end_s: float) -> str:
    """The id of a window of a source; times enter as whole microseconds."""
    return hash_of("clip", source_id, round(start_s * 1e6), round(end_s * 1e6))


def mix_id(recipe: dict[str, Any]) -> str:
    """The id of a mixture: the hash of its canonical recipe."""
    return hash_of("mix", recipe)
