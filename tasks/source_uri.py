"""The uris of sources: a path, an object, or a place inside a larger file.

| uri | source |
|---|---|
| `/films/a.mp4` | a file |
| `file:///films/%FF.mp4` | a file whose path is not UTF-8 |
| `tar:///films/a.tar#/talk.mp4` | a member of a tar |
| `s3://films/talks/a b.mp4` | an object: bucket and key as they are |
| `arrow:///set/data-00000-of-00001.arrow#/audio/7/talk.wav` | column, row and name in a dataset |

Paths and fragments are percent-encoded, keys are not.
"""

import os
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

TAR, ARROW = "tar", "arrow"
INSIDE = (TAR, ARROW)


def uri_of(path: Path) -> str:
    """The uri of a path: the path as it is, or a `file://` address where it is not UTF-8.

    Tables hold UTF-8 only. `tasks.container.local_path` gives the path back, byte for byte.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return f"file://{quote(os.fsencode(path))}"
    return str(path)


def scheme_of(uri: str) -> str:
    """The scheme of a uri; `file` for a path."""
    scheme, mark, _ = uri.partition("://")
    return scheme if mark and "/" not in scheme else "file"


def inside_uri(scheme: str, path: str | Path, fragment: str) -> str:
    """The uri of what lies inside a file under a name."""
    return f"{scheme}://{quote(os.fsencode(path))}#/{quote(os.fsencode(fragment))}"


def split_inside(uri: str) -> tuple[str, str]:
    """The path of the larger file, and the name inside it; the reverse of `inside_uri`.

    The name is empty where the uri has none.
    """
    path, _, fragment = uri.partition("://")[2].partition("#/")
    return (
        unquote(path, errors="surrogateescape"),
        unquote(fragment, errors="surrogateescape"),
    )


def name_of(uri: str) -> str:
    """The name of the source's file without its folders, as somebody gave it."""
    if scheme_of(uri) in (*INSIDE, "file") and "://" in uri:
        return PurePosixPath(unquote(uri, errors="surrogateescape")).name
    return PurePosixPath(uri).name


def told(uri: str) -> str:
    """Where a source lies, in words for a person who is to do something about it."""
    if scheme_of(uri) not in INSIDE:
        return uri
    path, name = split_inside(uri)
    what = "member" if scheme_of(uri) == TAR else "cell"
    shown = os.fsencode(f"{what} {name} of {path}")
    return shown.decode("utf-8", "backslashreplace")
