"""Uris of sources: their names for a person, and none of a machine's folders in a report."""

import pytest

from tasks.report_data import _reject, file_name
from tasks.source_uri import name_of, scheme_of, told


@pytest.mark.parametrize(
    ("uri", "scheme", "name", "words"),
    [
        ("/films/a b%20.mp4", "file", "a b%20.mp4", "/films/a b%20.mp4"),
        ("file:///films/%FF.mp4", "file", "\udcff.mp4", "file:///films/%FF.mp4"),
        ("s3://films/talks/a#1%.mp4", "s3", "a#1%.mp4", "s3://films/talks/a#1%.mp4"),
        ("tar:///x/a%20b.tar#/s/c%20d.mp4", "tar", "c d.mp4", "member s/c d.mp4 of /x/a b.tar"),
        ("tar:///x/a.tar#/%FF.mp4", "tar", "\udcff.mp4", "member \\xff.mp4 of /x/a.tar"),
        ("arrow:///x/d.arrow#/audio/7/e.wav", "arrow", "e.wav", "cell audio/7/e.wav of /x/d.arrow"),
        ("/odd/x://y.mp4", "file", "y.mp4", "/odd/x://y.mp4"),
    ],
)
def test_a_source_has_a_scheme_a_file_name_and_words_for_its_place(
    uri: str, scheme: str, name: str, words: str
) -> None:
    assert scheme_of(uri) == scheme
    assert name_of(uri) == name
    assert told(uri) == words


@pytest.mark.parametrize(
    "uri", ["/machine/a.tar", "tar:///machine/a%20b.tar#/s/c.mp4", "arrow:///machine/d#/v/0/c.mp4"]
)
def test_a_reject_in_a_report_shows_no_folder_of_the_machine(uri: str) -> None:
    row = {"uri": uri, "message": f"{told(uri)}: it is damaged"}
    assert "machine" not in str({**_reject(row), "uri": ""})
    assert file_name(uri) in _reject(row)["message"]


def test_a_report_shows_a_name_that_is_not_utf_8_as_text() -> None:
    assert file_name("tar:///x/a.tar#/%FF.mp4").encode("utf-8")
