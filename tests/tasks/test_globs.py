"""Patterns: what each chooses, and that one which chooses nothing is named."""

import pytest

from tasks.globs import Globs

SUFFIXES = frozenset({".mp4", ".wav"})
NAMES = (
    "a.mp4",
    "b.wav",
    "talks/c.mp4",
    "talks/deep/d.mp4",
    "talks/x[1].mp4",
    "notes.dat",
    "E.MP4",
)


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("*.mp4", {"a.mp4"}),
        ("**/*.mp4", {"a.mp4", "talks/c.mp4", "talks/deep/d.mp4", "talks/x[1].mp4"}),
        ("talks/*.mp4", {"talks/c.mp4", "talks/x[1].mp4"}),
        ("talks/**", {"talks/c.mp4", "talks/deep/d.mp4", "talks/x[1].mp4"}),
        ("**/deep/*", {"talks/deep/d.mp4"}),
        ("?.*", {"a.mp4", "b.wav", "E.MP4"}),
        ("[ab].*", {"a.mp4", "b.wav"}),
        ("[!a-z].*", {"E.MP4"}),
        ("talks/x[[]1].mp4", {"talks/x[1].mp4"}),
        ("*", {"a.mp4", "b.wav", "E.MP4"}),
        ("*.dat", {"notes.dat"}),
        ("a.mp4", {"a.mp4"}),
    ],
)
def test_a_pattern_chooses_by_the_whole_path_below_the_folder(
    pattern: str, chosen: set[str]
) -> None:
    globs = Globs((pattern,), SUFFIXES)
    assert {name for name in NAMES if globs.chooses(name)} == chosen
    globs.check("/films")


def test_without_patterns_every_file_of_a_known_suffix_is_chosen() -> None:
    globs = Globs((), SUFFIXES)
    assert {name for name in NAMES if globs.chooses(name)} == set(NAMES) - {"notes.dat"}


def test_a_pattern_that_matches_nothing_is_named() -> None:
    globs = Globs(("*.mp4", "talk/*.wav"), SUFFIXES)
    assert globs.chooses("a.mp4")
    with pytest.raises(
        ValueError, match=r"scan.globs: 'talk/\*.wav' matches no media file below /f"
    ):
        globs.check("/f")


@pytest.mark.parametrize("pattern", ["", "/films/*.mp4", "../*.mp4", "a/../b.mp4"])
def test_a_pattern_that_leaves_the_folder_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"must be a path below the folder"):
        Globs((pattern,), SUFFIXES)
