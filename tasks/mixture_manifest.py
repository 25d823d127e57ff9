"""The table of exported mixtures: manifest.parquet, and the same as manifest.csv."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from storage.schema import TABLES
from storage.workspace import write_atomically
from tasks.jams import MEASURES, Parent

Row = dict[str, Any]

FILES = ("mix_file", "speech_file", "dry_file", "ambience_file", "jams_file")
NUMBERS = (
    *("mix_id", "split", "regime", "mode", "duration_s", "speech_at_s"),
    *("requested_snr_db", "requested_difference_lu", *MEASURES),
    *("room_id", "t60_s", "ducking_db", "output_sha256"),
)
RIGHTS = ("uri", "licence", "attribution")
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in FILES),
        pa.field("rate_hz", pa.int32()),
        *(TABLES["mixtures"].arrow().field(name) for name in NUMBERS),
        pa.field("devices", pa.string()),
        *(
            pa.field(f"{p}_{right}", pa.string())
            for p in ("speech", "ambience")
            for right in RIGHTS
        ),
    ]
)


def manifest_row(
    row: Row, places: dict[str, str], jams: str | None, parents: dict[str, Parent]
) -> Row:
    """A row of the manifest: files, levels, and which parents are under which licence."""
    made: Row = {f"{part}_file": place for part, place in places.items()}
    made |= {"jams_file": jams, "rate_hz": json.loads(row["recipe"])["rate_hz"]}
    made |= {name: row[name] for name in NUMBERS} | {"devices": " ".join(row["devices"])}
    for name, parent in parents.items():
        made |= {f"{name}_{right}": getattr(parent, right) for right in RIGHTS}
    return made


def write_manifest(out: Path, rows: list[Row]) -> None:
    """Writes both files; rows are in order of their mixtures' ids."""
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["mix_id"]), SCHEMA)
    for name, write in (("manifest.parquet", pq.write_table), ("manifest.csv", _write_csv)):
        sink = pa.BufferOutputStream()
        write(table, sink)
        write_atomically(out / name, sink.getvalue().to_pybytes())


def _write_csv(table: pa.Table, sink: pa.BufferOutputStream) -> None:
    pyarrow.csv.write_csv(table, sink)
