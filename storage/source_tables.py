"""The tables of what is known of files and sources: as listed, as received, decoded, and heard."""

from storage.columns import (
    BOOL,
    CUES,
    DOUBLE,
    DOUBLES,
    INT,
    LONG,
    POINTS,
    SPANS,
    STRING,
    Column,
    Table,
    measured,
    optional,
    table,
)

C = Column
SOURCE = C("source_id", STRING, "Source: sha256 of the file's bytes.", "", "a4f582e875cc…")
PATH = "/archive/films/obama_speech.mp4"
RIGHTS = (
    optional("licence", STRING, "Licence from the manifest.", "", "public-domain"),
    optional("attribution", STRING, "Whom to credit.", "", "The White House"),
    optional("consent", STRING, "Consent of people shown or heard.", "", "public_official"),
    optional(
        "transcript",
        STRING,
        "Transcript that came with the file.",
        "",
        "he was not an ill disposed young man",
    ),
)
SUBTITLES = optional(
    "cues",
    CUES,
    "Subtitles that came with the file; the language is empty where none is named.",
    "s",
    '[{"start_s": 1.0, "end_s": 2.5, "text": "Hello, there", "language": "en"}]',
)

SOURCE_TABLES: tuple[Table, ...] = (
    table(
        "files",
        "A source that was listed, by its place; several may hold the same bytes.",
        "uri",
        C("uri", STRING, "Where it lies: a path, or a place in a tar or dataset.", "", PATH),
        SOURCE,
        C("size_bytes", LONG, "Size.", "bytes", "509868"),
        measured(
            "mtime_ns",
            LONG,
            "Modification time at hashing, of the tar or dataset for what lies in one.",
            "ns",
            "1795403107716521757",
        ),
        *RIGHTS,
        optional("speaker", STRING, "Who speaks, from the manifest.", "", "Elizabeth Klett"),
        optional(
            "recording",
            STRING,
            "Recording that the file is a part of, from the manifest.",
            "",
            "rain on a tin roof, 2019-05-04",
        ),
        SUBTITLES,
        optional(
            "listed_in",
            STRING,
            "Manifest that lists it by its uri; null where a folder was searched.",
            "",
            "/archive/licensed.parquet",
        ),
    ),
    table(
        "sources",
        "A source as received: what its container and streams say.",
        "source_id",
        SOURCE,
        C("uri", STRING, "The first path that holds these bytes.", "", PATH),
        C("size_bytes", LONG, "Size.", "bytes", "509868"),
        C("container", STRING, "Container format by libav's name.", "", "mov,mp4,m4a,3gp,3g2,mj2"),
        optional("duration_s", DOUBLE, "Duration that the container states.", "s", "10.0"),
        C("has_audio", BOOL, "An audio stream that can be decoded is there.", "", "true"),
        C("has_video", BOOL, "A video stream is there (cover art does not count).", "", "true"),
        optional("video_codec", STRING, "Video codec.", "", "h264"),
        optional("width", INT, "Coded width.", "px", "640"),
        optional("height", INT, "Coded height.", "px", "480"),
        optional("fps", DOUBLE, "Average frame rate.", "Hz", "29.97002997002997"),
        optional("is_vfr", BOOL, "Frame times are not evenly spaced.", "", "true"),
        optional("rotation_deg", INT, "Display rotation.", "degrees", "0"),
        optional("audio_codec", STRING, "Audio codec.", "", "aac"),
        optional("sample_rate_hz", INT, "Audio sample rate.", "Hz", "48000"),
        optional("channels", INT, "Audio channels.", "", "6"),
        C("streams", STRING, "Every stream's facts as JSON.", "", '[{"codec": "aac", "index": 1}]'),
        *RIGHTS,
    ),
    table(
        "decodes",
        "What one decode pass over a source gave; everything later reads only this.",
        "source_id",
        SOURCE,
        C("duration_s", DOUBLE, "Measured: the later end of picture and sound.", "s", "5.568"),
        optional(
            "audio48_ref", STRING, "Blob: 48 kHz mono FLAC.", "", "blobs/f4/891aa81920ff….flac"
        ),
        optional(
            "audio16_ref", STRING, "Blob: 16 kHz mono FLAC.", "", "blobs/39/ca462a30e795….flac"
        ),
        optional("audio_s", DOUBLE, "Length of the decoded sound.", "s", "5.568"),
        optional(
            "frames10_ref",
            STRING,
            "Blob: JPEG frames at 10 fps in Parquet.",
            "",
            "blobs/5d/a414989dcc40….parquet",
        ),
        optional("frames10_count", INT, "Frames at 10 fps.", "frames", "56"),
        optional(
            "frames25_ref",
            STRING,
            "Blob: gray JPEG frames at 25 fps in Parquet.",
            "",
            "blobs/13/d1516f17e82a….parquet",
        ),
        optional("frames25_count", INT, "Frames at 25 fps.", "frames", "139"),
        C("cuts_s", DOUBLES, "Times of scene cuts.", "s", "[1.2, 3.04, 5.48, 7.48, 9.68]"),
        optional("loudness_lufs", DOUBLE, "Integrated loudness, BS.1770-4.", "LUFS", "-30.569"),
        measured("decode_cpu_s", DOUBLE, "CPU seconds of the pass.", "s", "0.195662"),
        optional(
            "faces_ref",
            STRING,
            "Blob: faces cut out of the whole frames at up to 25 fps, gray JPEG in Parquet.",
            "",
            "blobs/86/0d5c6a0f35a1….parquet",
        ),
        optional(
            "faces_count",
            INT,
            "Faces in pictures that were found; NULL: not looked for.",
            "",
            "210",
        ),
        optional(
            "bad_frames",
            INT,
            "Packets that did not decode, and pictures that were concealed.",
            "frames",
            "0",
        ),
    ),
    table(
        "voices",
        "Where the voice detector hears speech in the sound of a source, before it is cut.",
        "source_id",
        SOURCE,
        C("speech_s", DOUBLE, "Seconds of speech.", "s", "5.98"),
        C(
            "speech_spans",
            SPANS,
            "Spans of speech in the source.",
            "s",
            '[{"start_s": 1.25, "end_s": 1.406}]',
        ),
        C(
            "weak_points",
            POINTS,
            "Where the spans are least like speech, one point in each half second.",
            "s",
            '[{"time_s": 2.384, "probability": 0.71}]',
        ),
    ),
)
