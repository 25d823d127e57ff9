"""The catalog's tables and views: one Arrow schema a table, each column with its meaning.

`talkies catalog describe` and the documentation are made from this file. A column marked volatile
(run ids, clock times, measured seconds) may differ between two runs over the same input; every
other column may not.
"""

from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 1

STRING, DOUBLE, LONG, INT, BOOL = (
    pa.string(),
    pa.float64(),
    pa.int64(),
    pa.int32(),
    pa.bool_(),
)
TIME = pa.timestamp("us", tz="UTC")
STRINGS = pa.list_(STRING)
SPANS = pa.list_(pa.struct([("start_s", DOUBLE), ("end_s", DOUBLE)]))


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type, what it means, its unit and an example."""

    name: str
    type: pa.DataType
    text: str
    unit: str = ""
    example: str = ""
    nullable: bool = False
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table: what one row is, its key, and its columns."""

    name: str
    text: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    def arrow(self) -> pa.Schema:
        """The Arrow schema of the table's rows."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    @property
    def stable_columns(self) -> list[str]:
        """Names of the columns that are equal in every run over the same input."""
        return [c.name for c in self.columns if not c.volatile]


@dataclass(frozen=True, slots=True)
class View:
    """A named query over tables, with the same care for its columns."""

    name: str
    text: str
    sql: str
    columns: dict[str, str]


def _id(name: str, text: str, example: str = "3f9a…", nullable: bool = False) -> Column:
    return Column(name, STRING, text, example=example, nullable=nullable)


def _table(name: str, text: str, key: str, *columns: Column) -> Table:
    run = Column("run_id", STRING, "Run that wrote the row.", "", "r-20261123-…", volatile=True)
    return Table(name, text, tuple(key.split()), (*columns, run))


C = Column
CLIP = _id("clip_id", "Clip: hash of source, start and end.")
SOURCE = _id("source_id", "Source: sha256 of the file's bytes.")

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _table(
            "files",
            "A path that was listed in a source folder; several may hold the same bytes.",
            "uri",
            C("uri", STRING, "Where the file lies.", "", "/archive/reel-7.mp4"),
            SOURCE,
            C("size_bytes", LONG, "Size.", "bytes", "383631"),
            C("mtime_ns", LONG, "Modification time when it was hashed.", "ns", volatile=True),
            C("licence", STRING, "Licence from the manifest.", "", "CC-BY-3.0", True),
            C("attribution", STRING, "Whom to credit.", "", "Blender Foundation", True),
            C("consent", STRING, "Consent of people shown or heard.", "", "public", True),
            C("transcript", STRING, "Transcript that came with the file.", "", "he was not", True),
        ),
        _table(
            "sources",
            "A source as received: what its container and streams say.",
            "source_id",
            SOURCE,
            C("uri", STRING, "The first path that holds these bytes.", "", "/archive/reel-7.mp4"),
            C("size_bytes", LONG, "Size.", "bytes", "383631"),
            C("container", STRING, "Container format by libav's name.", "", "mov,mp4,m4a"),
            C("duration_s", DOUBLE, "Duration that the container states.", "s", "5.57", True),
            C("has_audio", BOOL, "An audio stream that can be decoded is there."),
            C("has_video", BOOL, "A video stream is there (cover art does not count)."),
            C("video_codec", STRING, "Video codec.", "", "h264", True),
            C("width", INT, "Coded width.", "px", "560", True),
            C("height", INT, "Coded height.", "px", "320", True),
            C("fps", DOUBLE, "Average frame rate.", "Hz", "29.97", True),
            C("is_vfr", BOOL, "Frame times are not evenly spaced.", "", "false", True),
            C("rotation_deg", INT, "Display rotation.", "degrees", "90", True),
            C("audio_codec", STRING, "Audio codec.", "", "aac", True),
            C("sample_rate_hz", INT, "Audio sample rate.", "Hz", "48000", True),
            C("channels", INT, "Audio channels.", "", "6", True),
            C("streams", STRING, "Every stream's facts as JSON.", "", '[{"type":"video"}]'),
            C("licence", STRING, "Licence from the manifest.", "", "CC-BY-3.0", True),
            C("attribution", STRING, "Whom to credit.", "", "Blender Foundation", True),
            C("consent", STRING, "Consent of people shown or heard.", "", "public", True),
            C("transcript", STRING, "Transcript that came with the file.", "", "he was not", True),
        ),
        _table(
            "decodes",
            "What one decode pass over a source gave; everything later reads only this.",
            "source_id",
            SOURCE,
            C("duration_s", DOUBLE, "Measured duration: the later end of picture and sound.", "s"),
            C("audio48_ref", STRING, "Blob: 48 kHz mono FLAC.", "", "blobs/ab/cd.flac", True),
            C("audio16_ref", STRING, "Blob: 16 kHz mono FLAC.", "", "blobs/ab/cd.flac", True),
            C("audio_s", DOUBLE, "Length of the decoded sound.", "s", "5.568", True),
            C("frames10_ref", STRING, "Blob: JPEG frames at 10 fps.", "", nullable=True),
            C("frames10_count", INT, "Frames at 10 fps.", "frames", "56", True),
            C("frames25_ref", STRING, "Blob: gray JPEG frames at 25 fps.", "", nullable=True),
            C("frames25_count", INT, "Frames at 25 fps.", "frames", "139", True),
            C("cuts_s", pa.list_(DOUBLE), "Times of scene cuts.", "s", "[3.17]"),
            C("loudness_lufs", DOUBLE, "Integrated loudness, BS.1770-4.", "LUFS", "-23.1", True),
            C("decode_cpu_s", DOUBLE, "CPU seconds of the pass.", "s", "0.7", volatile=True),
        ),
        _table(
            "windows",
            "A window of a source: the clip's identity and times. The view `clips` adds labels.",
            "clip_id",
            CLIP,
            SOURCE,
            C("start_s", DOUBLE, "Start in the source.", "s", "3.17"),
            C("end_s", DOUBLE, "End in the source.", "s", "8.02"),
            C("duration_s", DOUBLE, "end_s - start_s.", "s", "4.85"),
            C("scene", INT, "Scene of the source, from 0.", "", "1"),
            C("has_audio", BOOL, "The window has sound."),
            C("has_picture", BOOL, "The window has picture."),
        ),
        _table(
            "listens",
            "What is heard in a clip.",
            "clip_id",
            CLIP,
            C("loudness_lufs", DOUBLE, "Integrated loudness; NULL in silence.", "LUFS", "", True),
            C("peak_dbfs", DOUBLE, "Sample peak; NULL in digital silence.", "dBFS", "-3.2", True),
            C("silence_ratio", DOUBLE, "Share of 20 ms frames under the threshold.", "", "0.12"),
            C("speech_s", DOUBLE, "Seconds of speech by the voice detector.", "s", "6.1"),
            C("speech_spans", SPANS, "Speech spans relative to the clip.", "s"),
            C("speech_score", DOUBLE, "Highest YAMNet score of a speech class.", "", "0.98"),
            C("top_tag", STRING, "Sound class with the highest score.", "", "Dog"),
            C("has_speech", BOOL, "Voice detector and sound tags agree on speech."),
        ),
        _table(
            "tags",
            "A sound class heard in a clip, with its score.",
            "clip_id rank",
            CLIP,
            C("rank", INT, "1 for the highest score.", "", "1"),
            C("label", STRING, "AudioSet class name.", "", "Rain"),
            C("score", DOUBLE, "YAMNet score, mean over the clip.", "0..1", "0.91"),
        ),
        _table(
            "transcripts",
            "What is said in a clip, with the recogniser's doubts as columns.",
            "clip_id",
            CLIP,
            C("text", STRING, "The transcript.", "", "Today, after two years"),
            C("language", STRING, "Language code.", "", "en"),
            C("language_score", DOUBLE, "Probability of the language.", "0..1", "0.99", True),
            C("avg_logprob", DOUBLE, "Mean token log-probability.", "nat", "-0.3", True),
            C("no_speech_score", DOUBLE, "Probability that there is no speech.", "0..1", "", True),
            C("compression_ratio", DOUBLE, "Text bytes over gzip bytes.", "", "1.4", True),
            C("flags", STRINGS, "Signs of an invented text; empty when none.", "", "[]"),
            C("method", STRING, "whisper, or shipped (came with the source).", "", "whisper"),
            C("model_id", STRING, "Recogniser.", "", "tiny.en"),
        ),
        _table(
            "words",
            "A word with its times.",
            "clip_id position",
            CLIP,
            C("position", INT, "Place in the transcript, from 0.", "", "4"),
            C("word", STRING, "The word as written.", "", "negotiations,"),
            C("start_s", DOUBLE, "Start relative to the clip.", "s", "1.22"),
            C("end_s", DOUBLE, "End relative to the clip.", "s", "1.86"),
            C("score", DOUBLE, "Probability; NULL where times were interpolated.", "", "", True),
        ),
        _table(
            "phonemes",
            "A phoneme with its times.",
            "clip_id position",
            CLIP,
            C("position", INT, "Place in the clip, from 0.", "", "11"),
            C("word_position", INT, "Word that it belongs to.", "", "4"),
            C("phoneme", STRING, "One IPA symbol.", "", "eɪ"),
            C("start_s", DOUBLE, "Start relative to the clip.", "s", "1.30"),
            C("end_s", DOUBLE, "End relative to the clip.", "s", "1.38"),
            C("stressed", BOOL, "Carries primary or secondary stress."),
            C("method", STRING, "How the times were found.", "", "proportional"),
            C("model_id", STRING, "Phonemizer and voice.", "", "espeak-ng/en-us"),
        ),
        _table(
            "features",
            "An array computed from a clip or a mixture by one extractor.",
            "clip_id extractor",
            _id("clip_id", "Clip, or mixture for features of a mixture."),
            C("extractor", STRING, "What computed it.", "", "efficientnet_lite0"),
            C("version", INT, "Version of the extractor.", "", "1"),
            C("shape", pa.list_(INT), "Array shape, time first.", "", "[100, 1280]"),
            C("dtype", STRING, "Array type.", "", "float16"),
            C("shard_ref", STRING, "Parquet shard that holds it.", "", "shards/motion/ab.parquet"),
            C("content_hash", STRING, "sha256 of the array's bytes.", "", "9c1e…"),
        ),
        _table(
            "splits",
            "The split of a source; clips and mixtures inherit it.",
            "source_id",
            SOURCE,
            _id("component_id", "Sources that may leak into each other share one."),
            C("split", STRING, "train, validation or test.", "", "train"),
        ),
        _table(
            "codecs",
            "An audio codec fitted on the training split.",
            "codec_id",
            _id("codec_id", "Hash of the codec's state."),
            C("name", STRING, "Kind of codec.", "", "mel_pca"),
            C("ref", STRING, "Blob: safetensors with the state.", "", "blobs/ab/cd.safetensors"),
            C("channels", INT, "Latent channels.", "", "64"),
            C("latent_hz", DOUBLE, "Latent rate.", "Hz", "25"),
            C("sample_rate_hz", INT, "Audio sample rate.", "Hz", "16000"),
            C("explained_variance", DOUBLE, "Share of mel variance kept.", "0..1", "0.97"),
            C("fitted_clips", INT, "Clips that it was fitted on.", "", "38"),
        ),
        _table(
            "kinds",
            "The kind of a clip, whether the dataset keeps it, and why.",
            "clip_id",
            CLIP,
            C("kind", STRING, "sound, speech_on_screen, speech_off_screen, mixed, silent."),
            C("task", STRING, "Training data it can be: v2s, visual_tts or tts.", "", "", True),
            C("kept", BOOL, "Passed every gate."),
            C("drop_reason", STRING, "First gate that it failed.", "", "too_silent", True),
            C("evidence", STRING, "What the kind rests on, as JSON.", "", '{"speech_s":6.1}'),
        ),
        _table(
            "mixtures",
            "A mixture of speech and ambience: the recipe and what was measured on the result.",
            "mix_id",
            _id("mix_id", "Hash of the canonical recipe."),
            _id("item_id", "Speech clip and take that the recipe was planned for.", "3f9a…:0"),
            _id("speech_clip_id", "Parent with the speech."),
            _id("ambience_clip_id", "Parent with the ambience."),
            C("regime", STRING, "Level law that was drawn from.", "", "location"),
            C("requested_snr_db", DOUBLE, "SNR on speech-active frames, asked.", "dB", "7.4"),
            C("achieved_snr_db", DOUBLE, "The same, measured on the finished stems.", "dB", "7.41"),
            C("loudness_lufs", DOUBLE, "Loudness of the mix.", "LUFS", "-27.0"),
            C("true_peak_dbtp", DOUBLE, "True peak, 4x oversampled.", "dBTP", "-8.1"),
            C("sum_error", DOUBLE, "Largest |mix - speech - ambience|.", "full scale", "3e-5"),
            C("duration_s", DOUBLE, "Length.", "s", "8.71"),
            C("split", STRING, "Strictest split of the parents.", "", "train"),
            C("mix_ref", STRING, "Blob: the mix, 16 kHz FLAC.", "", "blobs/ab/cd.flac"),
            C("speech_ref", STRING, "Blob: the speech stem.", "", "blobs/ab/cd.flac"),
            C("ambience_ref", STRING, "Blob: the ambience stem.", "", "blobs/ab/cd.flac"),
            C("recipe", STRING, "The canonical recipe as JSON.", "", '{"seed":1}'),
        ),
        _table(
            "datasets",
            "A frozen dataset: its members are in dataset_items.",
            "dataset_id",
            _id("dataset_id", "Hash of the name and the digest."),
            C("name", STRING, "Name in the recipe.", "", "demo"),
            C("version", INT, "1 for the first snapshot of the name.", "", "1"),
            C("digest", STRING, "Hash over members and their content hashes.", "", "77ab…"),
            C("catalog_snapshot", LONG, "Snapshot of all tables.", "", "118", volatile=True),
            C("train_items", INT, "Members in the training split.", "", "60"),
            C("validation_items", INT, "Members in the validation split.", "", "6"),
            C("test_items", INT, "Members in the test split.", "", "9"),
            C("hours", DOUBLE, "Length of all members.", "h", "0.18"),
            _id("codec_id", "Codec of the latents."),
            C("shard_refs", STRINGS, "Parquet shards for training.", "", "[shards/dataset/…]"),
        ),
        _table(
            "dataset_items",
            "A clip or mixture in a frozen dataset.",
            "dataset_id item_id",
            _id("dataset_id", "Dataset."),
            _id("item_id", "Clip id or mix id."),
            C("task", STRING, "v2s, visual_tts, tts or mixture.", "", "tts"),
            C("split", STRING, "train, validation or test.", "", "test"),
            C("duration_s", DOUBLE, "Length.", "s", "5.3"),
            C("content_hash", STRING, "Hash over the member's features and labels.", "", "0f2c…"),
        ),
        _table(
            "checkpoints",
            "A trained model.",
            "checkpoint_id",
            _id("checkpoint_id", "Hash of the weights file."),
            _id("dataset_id", "Dataset that it was trained on."),
            C("preset", STRING, "Model preset.", "", "tiny"),
            C("ref", STRING, "Folder of weights, codec and config.", "", "checkpoints/ab12…"),
            C("parameters", LONG, "Trainable parameters.", "", "6120000"),
            C("steps", INT, "Optimiser steps, fine-tuning included.", "steps", "360"),
            C("first_loss", DOUBLE, "Mean training loss of the first tenth.", "", "1.9"),
            C("last_loss", DOUBLE, "Mean training loss of the last tenth.", "", "1.1"),
            C("config", STRING, "Training configuration as JSON.", "", '{"steps":300}'),
            C("train_s", DOUBLE, "Wall seconds of training.", "s", "118", volatile=True),
        ),
        _table(
            "losses",
            "A point of a training loss curve.",
            "checkpoint_id step task",
            _id("checkpoint_id", "Trained model."),
            C("phase", STRING, "joint or mixtures.", "", "joint"),
            C("step", INT, "Optimiser step, from 1.", "steps", "40"),
            C("task", STRING, "all, v2s, visual_tts, tts or mixture.", "", "all"),
            C("loss", DOUBLE, "Mean flow-matching loss since the last point.", "", "1.32"),
        ),
        _table(
            "evaluations",
            "A metric of a model on one split.",
            "checkpoint_id metric task split",
            _id("checkpoint_id", "Evaluated model."),
            C("metric", STRING, "What was measured.", "", "flow_matching_loss"),
            C("task", STRING, "all, v2s, visual_tts, tts or mixture.", "", "all"),
            C("split", STRING, "Split that it was measured on.", "", "test"),
            C("value", DOUBLE, "Mean over items.", "", "1.21"),
            C("low", DOUBLE, "Lower end of the 95 % bootstrap interval.", "", "1.10"),
            C("high", DOUBLE, "Upper end of the 95 % bootstrap interval.", "", "1.33"),
            C("items", INT, "Items that were measured.", "", "9"),
            C("unit", STRING, "Unit of the value.", "", "dB"),
        ),
        _table(
            "generations",
            "A soundtrack that a model made for a source.",
            "generation_id",
            _id("generation_id", "Hash of model, source, script, seed and settings."),
            _id("item_id", "Source and take that was asked for."),
            SOURCE,
            _id("checkpoint_id", "Model."),
            C("seed", LONG, "Seed of the noise.", "", "7"),
            C("take", INT, "Take, from 1.", "", "1"),
            C("script", STRING, "Text that was to be spoken.", "", "Today, after", True),
            C("duration_s", DOUBLE, "Length of the soundtrack.", "s", "10.0"),
            C("video_s", DOUBLE, "Length of the picture.", "s", "10.0"),
            C("rtf", DOUBLE, "Compute seconds over audio seconds.", "", "2.1", volatile=True),
            C("loudness_lufs", DOUBLE, "Loudness of the soundtrack.", "LUFS", "-27.0", True),
            C("audio_ref", STRING, "Blob: the soundtrack alone, FLAC.", "", "blobs/ab/cd.flac"),
            C("file_ref", STRING, "Film with its soundtrack.", "", "soundtracks/bikes.mp4"),
            C("output_hash", STRING, "sha256 of the film file.", "", "52d0…"),
            C("picture_untouched", BOOL, "The video packets equal the source's, byte for byte."),
        ),
        _table(
            "rejects",
            "An item that a stage could not process, and why.",
            "stage item_id",
            C("stage", STRING, "Stage that rejected it.", "", "probe"),
            _id("item_id", "The item: a source id, clip id or path."),
            C("uri", STRING, "File that it comes from.", "", "/archive/notes.mp4", True),
            C("reason", STRING, "Reason code.", "", "truncated"),
            C("message", STRING, "What is wrong, with the value and the mend.", "", "…"),
            C("facts", STRING, "What was measured, as JSON.", "", '{"stated_s":5.6}'),
        ),
        _table(
            "progress",
            "An item that a stage has finished; nothing else remembers what is done.",
            "stage item_id",
            C("stage", STRING, "Stage.", "", "listen"),
            _id("item_id", "The item."),
            C("fingerprint", STRING, "Hash of stage version, configuration and weights.", "", ""),
            C("input_hash", STRING, "Hash of every input column that the stage read.", "", ""),
            C("status", STRING, "done or rejected.", "", "done"),
            C("cpu_s", DOUBLE, "CPU seconds of the worker itself.", "s", "0.4", volatile=True),
        ),
        Table(
            "runs",
            "A run of a command that writes.",
            ("run_id",),
            (
            C("run_id", STRING, "Run.", "", "r-20261123-…", volatile=True),
            C("command", STRING, "Command line.", "", "talkies demo", volatile=True),
            C("recipe", STRING, "Recipe as JSON.", "", '{"name":"demo"}', volatile=True),
            C("code_commit", STRING, "Commit of the code, if known.", "", "", True, True),
            C("versions", STRING, "Versions of Python and packages as JSON.", volatile=True),
            C("started_at", TIME, "Start.", "UTC", volatile=True),
            C("finished_at", TIME, "End; NULL while it runs or when it was killed.", "UTC", "",
              True, True),
            C("status", STRING, "running, done, failed or killed.", "", "done", volatile=True),
            C("wall_s", DOUBLE, "Wall seconds.", "s", "240", True, True),
            C("cpu_s", DOUBLE, "CPU seconds of flow and workers.", "s", "400", True, True),
            ),
        ),
    )
}  # fmt: skip

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View(
            "clips",
            "A clip with its labels: the table to begin with.",
            """SELECT w.clip_id, w.source_id, s.uri, w.start_s, w.end_s, w.duration_s, w.scene,
                      w.has_audio, w.has_picture, k.kind, k.task, k.kept, k.drop_reason,
                      p.split, l.loudness_lufs, l.peak_dbfs, l.silence_ratio, l.speech_s,
                      l.speech_score, l.has_speech, l.top_tag, t.text, t.language
               FROM windows w
               JOIN sources s USING (source_id)
               LEFT JOIN listens l USING (clip_id)
               LEFT JOIN kinds k USING (clip_id)
               LEFT JOIN splits p USING (source_id)
               LEFT JOIN transcripts t USING (clip_id)""",
            {
                "clip_id": "Clip.",
                "source_id": "Its source.",
                "uri": "File of the source.",
                "start_s": "Start in the source (s).",
                "end_s": "End in the source (s).",
                "duration_s": "Length (s).",
                "scene": "Scene of the source.",
                "has_audio": "Has sound.",
                "has_picture": "Has picture.",
                "kind": "sound, speech_on_screen, speech_off_screen, mixed or silent.",
                "task": "Training data it can be: v2s, visual_tts or tts.",
                "kept": "Passed every gate.",
                "drop_reason": "First gate that it failed.",
                "split": "train, validation or test.",
                "loudness_lufs": "Integrated loudness (LUFS).",
                "peak_dbfs": "Sample peak (dBFS).",
                "silence_ratio": "Share of silent frames.",
                "speech_s": "Seconds of speech.",
                "speech_score": "Score of the best speech class.",
                "has_speech": "Speech was found.",
                "top_tag": "Best sound class.",
                "text": "Transcript.",
                "language": "Its language.",
            },
        ),
        View(
            "hours_by_kind",
            "Clips and hours of each kind, kept and dropped.",
            """SELECT kind, kept, count(*) AS clips, sum(duration_s) / 3600 AS hours
               FROM clips WHERE kind IS NOT NULL GROUP BY ALL ORDER BY ALL""",
            {
                "kind": "Kind of clip.",
                "kept": "Passed every gate.",
                "clips": "Number of clips.",
                "hours": "Their length (h).",
            },
        ),
        View(
            "stage_progress",
            "What each stage has finished, and what it cost.",
            """SELECT stage, count(*) AS items, count(*) FILTER (status = 'rejected') AS rejected,
                      round(sum(cpu_s), 2) AS cpu_s
               FROM progress GROUP BY stage ORDER BY stage""",
            {
                "stage": "Stage.",
                "items": "Items it has finished, rejected ones among them.",
                "rejected": "Items it could not process.",
                "cpu_s": "CPU seconds of the workers, decoding children aside (s).",
            },
        ),
        View(
            "reject_reasons",
            "How many items each stage left out, by reason.",
            "SELECT stage, reason, count(*) AS items FROM rejects GROUP BY ALL ORDER BY ALL",
            {"stage": "Stage.", "reason": "Reason code.", "items": "Number of items."},
        ),
    )
}


def describe(name: str) -> list[dict[str, str]]:
    """The columns of a table or view with type, unit and meaning.

    Raises KeyError for a name that is neither.
    """
    if name in VIEWS:
        view = VIEWS[name]
        return [{"column": c, "type": "", "unit": "", "text": t} for c, t in view.columns.items()]
    return [
        {"column": c.name, "type": str(c.type), "unit": c.unit, "text": c.text}
        for c in TABLES[name].columns
    ]
