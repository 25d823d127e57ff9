"""Opens media files, and names what is wrong with those that are none.

`local_path` and `check_file` run in the worker and open nothing; the rest runs in the sandbox.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from storage.rejects import Rejected

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream as MediaStream

HEAD_BYTES = 4_096
MAGIC = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x7fELF": "a program",
    b"\x1f\x8b": "a gzip archive",
    b"{\\rtf": "an RTF document",
}
ASF = bytes.fromhex("3026b2758e66cf11")
STILLS = ("image2", "_pipe", "ico")


def local_path(uri: str) -> str:
    """The path that a uri names: a path as it is, or a `file://` address.

    Raises Rejected("unreadable") for any other scheme.
    """
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise Rejected("unreadable", f"{uri}: only local paths and file:// can be opened")
    # Bytes that are not UTF-8 become what `os.fsencode` turns back into them.
    return unquote(parts.path, errors="surrogateescape")


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the path before the message of a reject that does not name it."""
    try:
        yield
    except Rejected as reject:
        if reject.message.startswith(path):
            raise
        raise Rejected(reject.reason, f"{path}: {reject.message}", reject.facts) from None


def check_file(path: str) -> os.stat_result:
    """The facts of a regular file that holds bytes.

    Raises Rejected: `missing`, `unreadable`, `empty`, or `not_media` for a pipe, socket, device
    or folder, which is never opened: opening a pipe waits for a writer.
    """
    try:
        facts = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise Rejected("missing", f"{path}: no such file; put it back or build again") from None
    except (OSError, ValueError) as error:
        raise Rejected("unreadable", f"{path}: {error}; check the path and the disk") from None
    if not stat.S_ISREG(facts.st_mode):
        kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe, socket or device"
        raise Rejected("not_media", f"{path}: not a media file (it is {kind}); remove it")
    if facts.st_size == 0:
        raise Rejected("empty", f"{path}: the file has no bytes; get a complete copy")
    return facts


def first_bytes(path: str) -> bytes:
    """The head of a file; raises Rejected("unreadable") where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(HEAD_BYTES)
    except OSError as error:
        raise Rejected("unreadable", f"{path}: {error}; check its permissions") from None


@contextmanager
def open_media(path: str) -> "Iterator[InputContainer]":
    """Opens a regular media file and no other: no playlist, pipe, still picture or network.

    Raises Rejected where it is not media or cannot be opened, naming what it is instead.
    """
    import av
    from av.error import FFmpegError

    check_file(path)
    head = first_bytes(path)
    if kind := _foreign(head):
        raise Rejected(
            "not_media",
            f"{path}: not a media file (it begins with {kind}); remove it or correct its name",
        )
    options = {"protocol_whitelist": "file"}
    try:
        container = av.open(path, "r", metadata_errors="replace", options=options)
    except MemoryError:
        raise
    except (FFmpegError, OSError, ValueError) as error:
        raise _why_not(path, head, error) from None
    with container:
        if any(mark in container.format.name for mark in STILLS):
            raise Rejected(
                "not_media", f"{path}: a still picture, not a video; remove it from the sources"
            )
        yield container


def choose_streams(container: "InputContainer") -> "tuple[MediaStream | None, MediaStream | None]":
    """The video and the audio stream to use, each None where there is none that decodes.

    libav's best stream of each kind; cover art is not video. Raises Rejected("no_streams"), or
    `unsupported` where the only streams are in codecs that libav has no decoder for.
    """
    from av.stream import Disposition

    art = Disposition.attached_pic | Disposition.timed_thumbnails
    videos = [s for s in container.streams.video if not s.disposition & art and _decodes(s)]
    audios = [s for s in container.streams.audio if _decodes(s)]
    if not videos and not audios:
        others = [s for s in container.streams if s.type in ("video", "audio", "unknown")]
        undecodable = [s for s in others if not _decodes(s)]
        held = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        if undecodable:
            raise Rejected("unsupported", f"no decoder for its streams ({held}); convert the file")
        raise Rejected("no_streams", f"neither audio nor video to decode: it holds {held}")
    return _best(container, "video", videos), _best(container, "audio", audios)


def demuxed(container: "InputContainer", streams: list[Any]) -> Iterator[Any]:
    """The packets of the streams to the end of the file, then an empty one for each stream.

    Packets of a stream that was not there when the file was opened are passed over: PyAV raises
    IndexError for them and can go on behind them. Raises libav's errors.
    """
    while True:
        try:
            yield from container.demux(*streams)
        except IndexError:
            continue
        return


def microseconds(ticks: int, base: Fraction) -> int:
    """Ticks of a time base as whole microseconds, halves rounded up."""
    return (2_000_000 * ticks * base.numerator + base.denominator) // (2 * base.denominator)


def stated_duration_s(container: "InputContainer") -> float | None:
    """The duration that the container or its longest stream states, in seconds."""
    if container.duration is not None and container.duration > 0:
        return container.duration / 1_000_000
    stated = [
        float(s.duration * s.time_base) for s in container.streams if s.duration and s.time_base
    ]
    return max(stated) if stated and max(stated) > 0 else None


def _best(container: "InputContainer", kind: Any, usable: "list[Any]") -> "MediaStream | None":
    best = container.streams.best(kind)
    return best if best in usable else (usable[0] if usable else None)


def _decodes(stream: "MediaStream") -> bool:
    context: Any = stream.codec_context
    if context is None or not context.is_decoder:
        return False
    if stream.type == "audio":
        return context.sample_rate > 0 and context.layout.nb_channels > 0
    return stream.type == "video" and context.width > 0 and context.height > 0


def _foreign(head: bytes) -> str | None:
    """What the first bytes are, where they cannot be media."""
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    try:
        text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character cut in two by the end of the head is text
            return None
        text = head[: error.start].decode()
    if all(c.isprintable() or c in "\t\r\n\f\ufeff" for c in text):
        return "plain text"
    return None


def _why_not(path: str, head: bytes, error: Exception) -> Rejected:
    """The reject for a file that libav could not open."""
    size = Path(path).stat().st_size
    has_index, stated = stated_bytes(path, head)
    facts = {"size_bytes": size, "stated_bytes": stated}
    if not has_index:
        return Rejected(
            "truncated",
            f"{path}: the index (moov atom) is missing: the file ends early, at {size} bytes; "
            "get a complete copy",
            facts,
        )
    if stated > size:
        return Rejected(
            "truncated",
            f"{path}: the file ends early, at {size} of {stated} bytes; get a complete copy",
            facts,
        )
    known = (b"RIFF", b"\x1aE\xdf\xa3", b"OggS", ASF, b"fLaC", b"ID3", b"FLV", b"\0\0\x01\xba")
    said = getattr(error, "strerror", None) or str(error)
    if head.startswith(known) or head[4:8] == b"ftyp":
        return Rejected(
            "damaged", f"{path}: its header is damaged ({said}); get another copy", {"error": said}
        )
    return Rejected(
        "not_media",
        f"{path}: not a media file (it begins with bytes {head[:8].hex(' ')}); "
        "remove it or correct its name",
        {"error": said},
    )


def stated_bytes(path: str, head: bytes) -> tuple[bool, int]:
    """Whether a file has the index it needs, and the bytes that its header states, 0 if none.

    Known for MP4 and its kin (their boxes) and for AVI and WAV (the RIFF header).
    """
    if head.startswith(b"RIFF"):
        length = int.from_bytes(head[4:8], "little")
        # A writer that could not seek back leaves one of these.
        return True, length + 8 if length not in (0, 0xFFFFFFFF, 0x7FFFFFFF) else 0
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _walk_boxes(path)
    return True, 0


def _walk_boxes(path: str) -> tuple[bool, int]:
    at, has_index = 0, False
    size = Path(path).stat().st_size
    with open(path, "rb") as stream:
        while at < size:
            stream.seek(at)
            header = stream.read(16)
            if len(header) < 8:
                return has_index, at + 8
            length, name = int.from_bytes(header[:4], "big"), header[4:8]
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            elif length == 0:
                length = size - at
            has_index = has_index or name == b"moov"
            if length < 8:
                return has_index, at
            at += length
    return has_index, at
