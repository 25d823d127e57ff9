"""Patterns that choose files: `*` and `?` within a name, `**` over any number of folders."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath


class Globs:
    """Patterns of a recipe, and which of them have chosen something.

    Args:
        patterns: none for every file of a known suffix.
        suffixes: the known ones; a pattern that ends with another one chooses files of that too.
    """

    def __init__(self, patterns: Sequence[str], suffixes: frozenset[str]) -> None:
        """Compiles the patterns; raises ValueError for one that cannot match anything."""
        self._suffixes = suffixes
        self._patterns = {pattern: re.compile(_regex(pattern)) for pattern in patterns}
        self._used: set[str] = set()

    def chooses(self, name: str) -> bool:
        """Whether a file is chosen by its path below the folder."""
        suffix = PurePosixPath(name).suffix.lower()
        known = suffix in self._suffixes
        if not self._patterns:
            return known
        matching = {
            pattern
            for pattern, regex in self._patterns.items()
            if regex.fullmatch(name) and (known or (suffix and pattern.lower().endswith(suffix)))
        }
        self._used |= matching
        return bool(matching)

    def check(self, where: str) -> None:
        """Raises ValueError for a pattern that has chosen nothing."""
        if unused := [pattern for pattern in self._patterns if pattern not in self._used]:
            raise ValueError(f"scan.globs: {unused[0]!r} matches no media file below {where}")


def _regex(pattern: str) -> str:
    if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        raise ValueError(
            f"scan.globs: {pattern!r} must be a path below the folder, such as 'talks/**/*.mp4'"
        )
    parts = []
    # `[!a]` is `[^a]` in a regular expression; a bracket without its end stands for itself.
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|.", pattern, re.DOTALL):
        if token == "**/":
            parts.append("(?:.*/)?")
        elif token in ("**", "*", "?"):
            parts.append({"**": ".*", "*": "[^/]*", "?": "[^/]"}[token])
        elif len(token) > 1:
            inside = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            no = inside.startswith("!")
            parts.append(f"(?!/)[{'^' if no else ''}{inside[1:] if no else inside}]")
        else:
            parts.append(re.escape(token))
    return f"(?s:{''.join(parts)})"
