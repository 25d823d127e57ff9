"""Which sources a dataset may take by their licence.

A licence counts as it is spelt in the manifest, letter by letter. A source is allowed where at
least one licence is stated for it and every stated one is in the list: the same bytes may lie under
several names, and two files that contradict each other are a doubt that the list is there to keep
out. A file beside them that states nothing, or that the licence is unknown, takes nothing away.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence


def allowed(source_id: str) -> str:
    """SQL: whether the source, an SQL expression, is allowed by the list `$licences`."""
    return f"""(len($licences::VARCHAR[]) = 0 OR {source_id} IN (
        SELECT source_id FROM source_licences
        WHERE len(licences) > 0 AND list_has_all($licences::VARCHAR[], licences)))"""


def check_licences(required: Sequence[str], stated: Iterable[str | None]) -> None:
    """Raises ValueError for a required licence that no file has as it is spelt, but nearly.

    Case, spaces, hyphens and underscores make a near miss; another version is another licence.
    Raises it too where no file at all has a required licence.
    """
    if not required:
        return
    files = Counter(licence for licence in stated if licence)
    for licence in required:
        near = [
            other for other in files if _plain(other) == _plain(licence) and other not in required
        ]
        if near:
            raise ValueError(
                f"snapshot.licences: {licence!r} is spelt {near[0]!r} in the manifest "
                f"({files[near[0]]} files); write it so, or list both"
            )
    if not files.keys() & set(required):
        there = ", ".join(f"{licence!r}" for licence, _ in files.most_common()) or "none"
        raise ValueError(
            f"snapshot.licences: no file has one of {list(required)}; the manifest states {there}"
        )


def _plain(licence: str) -> str:
    return re.sub(r"[\s_-]+", "-", licence.strip()).casefold()
