"""Put a soundtrack beside an untouched picture, and mark the file as made by a model.

The coded picture is copied packet by packet, with its time stamps and its rotation; the soundtrack
becomes AAC at 48 kHz. It begins where the decode pass counts from, at the earlier start of picture
and sound of the source, and ends with the picture. MP4 and QuickTime sources give MP4, everything
else Matroska. The same inputs on the same version of libav and kind of processor give the same
bytes.

What does not come through, so that nobody looks for it:

- Sound, subtitles, data tracks, attachments, chapters, timecode and further pictures of the source.
- In MP4: metadata that has no iTunes name, such as the camera's place. In Matroska: time stamps
  finer than a millisecond.
- Edit lists are written anew: what they hid before the start and at the end stays hidden; several
  edits of one track become one.
- A picture in MPEG-TS or AVI is framed anew for Matroska; `picture_untouched` then compares what
  lies inside the frames.
- AVI with packed B-frames has no usable time stamps and is refused.
- The mark is text and XMP that any tool can strip; it is no watermark and no signed manifest.

Audio is float32 in [-1, 1], shape (C, T): C channels, T samples.
"""

import errno
import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.timeline import AUDIO48_HZ, count
from storage.rejects import Rejected
from tasks.container import choose_streams, open_media
from tasks.levels import Audio, pad_or_trim
from tasks.mark import Mark, append_xmp, marked_metadata
from tasks.mux_check import MuxResult, is_mp4, read_back, scan_picture, video_packets

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

BIT_RATE = 192_000
MP4_SUFFIX, MATROSKA_SUFFIX = ".mp4", ".mkv"
FORMATS = {MP4_SUFFIX: "mp4", MATROSKA_SUFFIX: "matroska"}
AAC_FRAME_SAMPLES = 1024
MP4_CODECS = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"})
KEPT_STREAM_KEYS = ("language", "handler_name", "title")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def mux_file(
    video_path: str, audio_path: str, output_folder: str, name: str, model_id: str, seed: int
) -> dict[str, Any]:
    """`mux` for the sandbox: takes and returns what JSON holds, the soundtrack as FLAC or WAV.

    The source's bytes are not trusted, so call it as `run_limited("tasks.mux:mux_file", …)`.
    `name` is the file's name without suffix.
    """
    import soundfile

    audio, rate_hz = soundfile.read(audio_path, dtype="float32", always_2d=True)
    output_path = Path(output_folder) / f"{name}{MP4_SUFFIX}"
    waveform = np.asarray(audio.T, dtype=np.float32)
    return asdict(mux(Path(video_path), waveform, rate_hz, output_path, Mark(model_id, seed)))


def mux(video_path: Path, audio: Audio, rate_hz: int, output_path: Path, mark: Mark) -> MuxResult:
    """Writes the source's picture with a new soundtrack, and measures what it wrote.

    Args:
        video_path: the source; its own sound is left out.
        audio: (1, T) or (2, T); its first sample lies at the zero of the source's timeline. What
            reaches beyond the end of the picture is cut, what is missing is silent.
        rate_hz: its sample rate; resampled to 48 kHz.
        output_path: where the file goes, with the suffix .mp4; it becomes .mkv where the picture
            needs Matroska.
        mark: model and seed that the file is marked with.

    Raises ValueError for sound that cannot be a soundtrack or an output that is the source, and
    Rejected where the source cannot be read, has no picture, or its picture cannot be copied.
    """
    from av.error import FFmpegError

    _check_audio(audio)
    with open_media(str(video_path)) as source:
        video = _video_of(source, video_path)
        picture, zero_s = scan_picture(source, video), _zero_s(source)
    zero_s = min(picture.start_s, zero_s)
    soundtrack = _soundtrack(audio, rate_hz, picture.start_s + picture.duration_s - zero_s)
    with open_media(str(video_path)) as source:
        video = _video_of(source, video_path)
        suffix = _suffix(source, video)
        # Not with_suffix: a name may hold dots of its own.
        output_path = output_path.with_name(output_path.name.removesuffix(MP4_SUFFIX) + suffix)
        if output_path.resolve() == video_path.resolve():
            raise ValueError(f"{output_path}: the output is the source; name another file")
        temporary = output_path.with_name(f".{output_path.name}.{os.getpid()}.tmp")
        try:
            _write(source, video, zero_s, soundtrack, temporary, mark)
            if suffix == MP4_SUFFIX:
                _hide_end(temporary, picture.duration_s)
                append_xmp(temporary, mark)
            result = read_back(temporary, output_path, picture, zero_s)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(output_path)
        except FFmpegError as error:
            if isinstance(error, MemoryError) or error.errno in DISK_FULL:
                raise
            raise _cannot_copy(video, suffix, str(error.strerror)) from error
        finally:
            temporary.unlink(missing_ok=True)
    return result


def _check_audio(audio: Audio) -> None:
    if audio.ndim != 2 or audio.shape[0] not in (1, 2) or audio.shape[1] == 0:
        raise ValueError(f"audio of shape {audio.shape}: give (1, samples) or (2, samples)")
    if not np.isfinite(audio).all():
        raise ValueError("audio holds NaN or infinity")


def _video_of(source: "InputContainer", path: Path) -> "VideoStream":
    video, _ = choose_streams(source)
    if video is None:
        raise Rejected("no_streams", f"{path}: it has no picture to put a soundtrack beside")
    return video  # pyright: ignore[reportReturnType]


def _codec_name(video: "VideoStream") -> str:
    # Not the context's name: that is the decoder's, such as libdav1d for AV1.
    return video.codec_context.codec.canonical_name


def _suffix(source: "InputContainer", video: "VideoStream") -> str:
    return MP4_SUFFIX if is_mp4(source) and _codec_name(video) in MP4_CODECS else MATROSKA_SUFFIX


def _cannot_copy(video: "VideoStream", suffix: str, why: str) -> Rejected:
    return Rejected(
        "unsupported",
        f"{video.container.name}: its {_codec_name(video)} picture cannot be copied into "
        f"{suffix} ({why}); convert the file",
    )


def _zero_s(source: "InputContainer") -> float:
    """Where the sound of the source starts, or infinity; negative starts are codec delay."""
    _, sound = choose_streams(source)
    if sound is None or sound.start_time is None or sound.time_base is None:
        return math.inf
    return max(0.0, float(sound.start_time * sound.time_base))


def _soundtrack(audio: Audio, rate_hz: int, duration_s: float) -> Audio:
    """The sound (C, T) at 48 kHz, exactly as long as the picture."""
    import soxr

    # Only what is heard is resampled; one second more keeps the resampler's end effects out.
    needed = pad_or_trim(audio, count(duration_s + 1.0, rate_hz))
    if rate_hz != AUDIO48_HZ:
        needed = soxr.resample(needed.T, rate_hz, AUDIO48_HZ).T
    return pad_or_trim(needed.astype(np.float32), count(duration_s, AUDIO48_HZ))


# -- writing ---------------------------------------------------------------------------------------


def _write(
    source: "InputContainer",
    video: "VideoStream",
    zero_s: float,
    soundtrack: Audio,
    path: Path,
    mark: Mark,
) -> None:
    """Copies the video packets and encodes the soundtrack, interleaved by time."""
    import av
    from av.container import Flags

    suffix = _suffix(source, video)
    options = {"movflags": "+faststart"} if suffix == MP4_SUFFIX else {}
    with av.open(str(path), "w", format=FORMATS[suffix], options=options) as out:
        out.flags |= Flags.bitexact.value
        out.metadata.update(marked_metadata(source.metadata, mark, suffix == MP4_SUFFIX))
        try:
            copy = out.add_stream_from_template(video, opaque=True)
        except ValueError as error:  # the container has no name for the codec
            raise _cannot_copy(video, suffix, str(error)) from error
        copy.metadata.update({k: v for k, v in video.metadata.items() if k in KEPT_STREAM_KEYS})
        sound = _add_sound(out, soundtrack.shape[0])
        encoded = _encoded(sound, soundtrack, count(zero_s, AUDIO48_HZ))
        waiting = next(encoded, None)
        tick_s = float(video.time_base or 0)
        for packet in video_packets(source, video):
            at_s = (packet.dts or 0) * tick_s
            while waiting is not None and waiting[0] <= at_s:
                out.mux(waiting[1])
                waiting = next(encoded, None)
            packet.stream = copy
            out.mux(packet)
        while waiting is not None:
            out.mux(waiting[1])
            waiting = next(encoded, None)


def _add_sound(out: "OutputContainer", channels: int) -> "AudioStream":
    from av.codec.context import Flags

    sound = out.add_stream("aac", rate=AUDIO48_HZ)
    sound.codec_context.layout = "mono" if channels == 1 else "stereo"
    sound.codec_context.bit_rate = BIT_RATE
    sound.codec_context.flags |= Flags.bitexact.value
    sound.codec_context.time_base = Fraction(1, AUDIO48_HZ)
    return sound


def _encoded(
    sound: "AudioStream", soundtrack: Audio, first_sample: int
) -> "Iterator[tuple[float, Packet]]":
    """AAC packets with their times in seconds; the first lies one priming frame before its time."""
    from av import AudioFrame

    layout = sound.codec_context.layout.name
    samples = soundtrack.shape[1]
    for start in range(0, samples, AAC_FRAME_SAMPLES):
        block = np.ascontiguousarray(soundtrack[:, start : start + AAC_FRAME_SAMPLES])
        frame = AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate = AUDIO48_HZ
        frame.time_base = Fraction(1, AUDIO48_HZ)
        frame.pts = first_sample + start
        for packet in sound.encode(frame):
            yield (first_sample + start) / AUDIO48_HZ, packet
    for packet in sound.encode(None):
        yield (first_sample + samples) / AUDIO48_HZ, packet


def _hide_end(path: Path, shown_s: float) -> None:
    """Writes into the picture's edit list, in place, how long it is shown.

    The muxer counts every frame that is stored, also one that the source's edit list hid at its
    end because others are predicted from it. Fast start has put `moov` right behind `ftyp`.
    """
    with path.open("r+b") as stream:
        stream.seek(int.from_bytes(stream.read(4), "big"))
        moov_at = stream.tell()
        moov = bytearray(stream.read(int.from_bytes(stream.read(4), "big") - 4))
        head, _ = next(_boxes(moov, 4, len(moov), b"mvhd"))
        scale_hz = int.from_bytes(moov[head + 12 : head + 16], "big")
        for start, end in _boxes(moov, 4, len(moov), b"trak"):
            media, media_end = next(_boxes(moov, start, end, b"mdia"))
            handler, _ = next(_boxes(moov, media, media_end, b"hdlr"))
            if moov[handler + 8 : handler + 12] != b"vide":
                continue
            for edits, edits_end in _boxes(moov, start, end, b"edts"):
                _, last = next(_boxes(moov, edits, edits_end, b"elst"))
                # The last edit: duration, media time and rate, of four bytes each.
                stored = int.from_bytes(moov[last - 12 : last - 8], "big")
                shown = min(stored, math.ceil(shown_s * scale_hz - 1e-6))
                moov[last - 12 : last - 8] = shown.to_bytes(4, "big")
        stream.seek(moov_at + 4)
        stream.write(moov)


def _boxes(data: bytearray, start: int, end: int, name: bytes) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes of a name begin and end, within one box's contents."""
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == name:
            yield start + 8, start + size
        start += max(size, 8)
