"""What the catalog's rows refer to: keys of other tables, and files of the workspace.

Declared once as data: `storage/verify.py` checks what stands here, and `storage/gc.py` keeps the
files that these columns name.
"""

from dataclasses import dataclass

from storage.schema import TABLES

SPLITS = ("train", "validation", "test")
BUILD_AGAIN = "finish the build (`talkies build RECIPE`): it drops rows whose input is gone"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns of a table whose values are keys of one of the target tables.

    Attributes:
        table: the table that refers.
        columns: its columns, one for a simple key.
        targets: (table, columns) that may hold the key.
        mend: what to do about a value that is in none of them.
        is_frozen: the row belongs to a dataset version, so that the target is looked up in the
            snapshot that the version pins.
    """

    table: str
    columns: tuple[str, ...]
    targets: tuple[tuple[str, tuple[str, ...]], ...]
    mend: str = BUILD_AGAIN
    is_frozen: bool = False

    @property
    def text(self) -> str:
        """The key as `words.clip_id → transcripts.clip_id`."""
        ends = " or ".join(f"{table}.{'+'.join(columns)}" for table, columns in self.targets)
        return f"{self.table}.{'+'.join(self.columns)} → {ends}"


def _key(start: str, *ends: str, mend: str = BUILD_AGAIN, is_frozen: bool = False) -> ForeignKey:
    (table, columns), *targets = (_place(text) for text in (start, *ends))
    return ForeignKey(table, columns, tuple(targets), mend, is_frozen)


def _place(text: str) -> tuple[str, tuple[str, ...]]:
    table, columns = text.split(".")
    return table, tuple(columns.split("+"))


RESTORE = "restore a backup of the catalog (`talkies catalog restore`)"

FOREIGN_KEYS: tuple[ForeignKey, ...] = (
    _key("sources.source_id", "files.source_id"),
    _key("decodes.source_id", "sources.source_id"),
    _key("truths.source_id", "sources.source_id"),
    _key("true_events.source_id", "truths.source_id"),
    _key("true_words.source_id", "truths.source_id"),
    _key("true_phonemes.source_id", "truths.source_id"),
    _key("voices.source_id", "decodes.source_id"),
    _key("windows.source_id", "sources.source_id"),
    _key("fingerprints.source_id", "decodes.source_id"),
    _key("relations.source_id", "sources.source_id"),
    _key("relations.other_id", "sources.source_id"),
    _key("splits.source_id", "sources.source_id"),
    _key("splits.component_id", "splits.source_id"),
    _key("listens.clip_id", "windows.clip_id"),
    _key("tags.clip_id", "listens.clip_id"),
    _key("transcripts.clip_id", "windows.clip_id"),
    _key("words.clip_id", "transcripts.clip_id"),
    _key("phonemes.clip_id+word_position", "words.clip_id+position"),
    _key("faces.clip_id", "windows.clip_id"),
    _key("talks.clip_id+track", "faces.clip_id+track"),
    _key("syncs.clip_id", "windows.clip_id"),
    _key("kinds.clip_id", "windows.clip_id"),
    _key("features.clip_id", "windows.clip_id", "mixtures.mix_id"),
    _key("mixtures.speech_clip_id", "windows.clip_id"),
    _key("mixtures.ambience_clip_id", "windows.clip_id"),
    _key("mixtures.room_id", "rooms.room_id"),
    _key("datasets.codec_id", "codecs.codec_id", mend=RESTORE, is_frozen=True),
    _key("dataset_items.dataset_id", "datasets.dataset_id", mend=RESTORE),
    _key(
        "dataset_items.item_id", "windows.clip_id", "mixtures.mix_id", mend=RESTORE, is_frozen=True
    ),
    _key("checkpoints.dataset_id", "datasets.dataset_id", mend=RESTORE),
    _key("losses.checkpoint_id", "checkpoints.checkpoint_id", mend=RESTORE),
    _key("evaluations.checkpoint_id", "checkpoints.checkpoint_id", mend=RESTORE),
    _key("generations.checkpoint_id", "checkpoints.checkpoint_id", mend=RESTORE),
    _key("marks.source_id", "tombstones.source_id", mend=RESTORE),
    _key("rejects.stage+item_id", "progress.stage+item_id", mend=RESTORE),
    *(
        _key(f"{table.name}.run_id", "runs.run_id", mend=RESTORE)
        for table in TABLES.values()
        if table.name != "runs" and any(column.name == "run_id" for column in table.columns)
    ),
)


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column that names files of the workspace, relative to its root.

    Attributes:
        table: the table.
        column: the column; a list of references where its name ends in `_refs`.
        kind: blob, features, training (shards), checkpoint (a folder) or film.
    """

    table: str
    column: str
    kind: str


FILE_COLUMNS: tuple[FileColumn, ...] = (
    FileColumn("decodes", "audio48_ref", "blob"),
    FileColumn("decodes", "audio16_ref", "blob"),
    FileColumn("decodes", "frames10_ref", "blob"),
    FileColumn("decodes", "frames25_ref", "blob"),
    FileColumn("decodes", "colour25_ref", "blob"),
    FileColumn("decodes", "faces_ref", "blob"),
    FileColumn("features", "shard_ref", "features"),
    FileColumn("codecs", "ref", "blob"),
    FileColumn("rooms", "ref", "blob"),
    FileColumn("mixtures", "mix_ref", "blob"),
    FileColumn("mixtures", "speech_ref", "blob"),
    FileColumn("mixtures", "dry_ref", "blob"),
    FileColumn("mixtures", "ambience_ref", "blob"),
    FileColumn("datasets", "shard_refs", "training"),
    FileColumn("checkpoints", "ref", "checkpoint"),
    FileColumn("generations", "audio_ref", "blob"),
    FileColumn("generations", "file_ref", "film"),
)
