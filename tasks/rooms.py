"""Make the bank of rooms that speech is put into: impulse responses, simulated or measured.

A response is mono 24-bit FLAC at 48 kHz, in any scale, with the direct sound at sample 0: words and
lips stay where they are. `tasks/room_response.py` reads it with a direct sound of 1, so that a room
adds its reverberation and leaves the speech itself as it is.
"""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from models.timeline import AUDIO48_HZ, count
from storage.blobs import Blobs, hash_in
from storage.ids import hash_of
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.container import check_file, local_path, naming
from tasks.draws import keyed_generator, rounded
from tasks.room_measures import Response, drr_db, from_direct, t60_s, until_noise
from tasks.room_simulation import WALL_MARGIN_M, draw_room, simulate
from tasks.sandbox import Limits, run_limited
from tasks.source_uri import uri_of

if TYPE_CHECKING:
    from storage.catalog import Catalog

SUFFIXES = (".wav", ".flac")
LIMITS = Limits(wall_s=60, cpu_s=30, memory_mb=1024, output_mb=64)
PEAK = 0.999  # of what is stored: the direct sound is not always the largest sample
LISTING = pa.schema(
    [
        ("item_id", pa.string()),
        ("kind", pa.string()),
        ("number", pa.int64()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
    ]
)

Positive = Annotated[float, Field(gt=0)]
Side = Annotated[float, Field(ge=1, le=100)]


@dataclass(frozen=True, slots=True)
class RoomsConfig:
    """Which rooms there are.

    Attributes:
        count: simulated rooms; 0 makes none.
        folder: WAV and FLAC files of measured responses, searched with its subfolders; the first
            channel counts. Empty for none; a relative one counts from the recipe's own folder.
        t60_s: least and largest reverberation time of a simulated room.
        width_m: least and largest width.
        depth_m: least and largest depth.
        height_m: least and largest height.
        distance_m: least and largest distance of speaker and microphone; a small room shortens it.
        images_s: from here on, counted from the emission, reverberation is noise that decays.
        max_length_s: longer responses are cut.
        seed: another seed draws other rooms.
        generation: raise it to make every room anew.
    """

    count: Annotated[int, Field(ge=0, le=10_000)] = 16
    folder: str = ""
    t60_s: tuple[Annotated[float, Field(ge=0.1)], Annotated[float, Field(le=5)]] = (0.15, 1.0)
    width_m: tuple[Side, Side] = (2.5, 10.0)
    depth_m: tuple[Side, Side] = (2.5, 10.0)
    height_m: tuple[Side, Side] = (2.2, 4.0)
    distance_m: tuple[Positive, Positive] = (0.3, 3.0)
    images_s: Annotated[float, Field(ge=0.02, le=0.2)] = 0.05
    max_length_s: Annotated[float, Field(ge=0.1, le=30)] = 3.0
    seed: int = 0
    generation: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for a range whose end lies before its start."""
        for name in ("t60_s", "width_m", "depth_m", "height_m", "distance_m"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"rooms.{name}=[{low}, {high}]: give the smaller one first")
        if self.height_m[0] < 1.0 + 2 * WALL_MARGIN_M:
            raise ValueError(f"rooms.height_m={self.height_m}: nobody can stand there; give 1.6 m")


def list_rooms(config: RoomsConfig) -> pa.Table:
    """The rooms that there should be, ordered by item_id: simulated ones by number, files by path.

    Links to files are followed. Raises NotADirectoryError where the folder is missing and
    ValueError where it holds no WAV or FLAC file.
    """
    rows: list[dict[str, Any]] = [
        {"item_id": f"simulated:{number:05d}", "kind": "simulated", "number": number}
        for number in range(config.count)
    ]
    if config.folder:
        rows += _measured_rows(Path(config.folder))
    rows.sort(key=lambda row: row["item_id"])
    return pa.Table.from_pylist(rows, schema=LISTING)


def _measured_rows(folder: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        raise NotADirectoryError(f"rooms folder {folder}: not a folder; mend `rooms.folder`")
    rows = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            name = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
            row = {"item_id": f"measured:{name}", "kind": "measured", "uri": uri_of(path)}
            facts = path.stat()
            rows.append(row | {"size_bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns})
    if not rows:
        raise ValueError(f"rooms folder {folder}: no WAV or FLAC file in it; is its disk mounted?")
    return rows


def rooms_shard(shard: ShardRef, out: ShardTarget, config: RoomsConfig) -> ShardResult:
    """Makes the rooms of a shard."""

    def make(item: dict[str, Any]) -> Rows:
        if item["kind"] == "simulated":
            response, facts = simulated(item["number"], config)
        else:
            response, facts = measured(local_path(item["_uri"]), Path(out.folder)), {}
        with naming(item["item_id"]):
            return {"rooms": [room_row(item, response, facts, config, Blobs(out.workspace))]}

    return run_items(shard, out, make)


def simulated(number: int, config: RoomsConfig) -> tuple[Response, dict[str, Any]]:
    """The response (T,) of a simulated room, and what was drawn for it."""
    generator = keyed_generator("room", config.seed, number)
    sizes_m = (config.width_m, config.depth_m, config.height_m)
    room = draw_room(generator, config.t60_s, sizes_m, config.distance_m)
    width_m, depth_m, height_m = room.size_m
    return simulate(room, generator, config.images_s), {
        "t60_requested_s": room.t60_s,
        "distance_m": rounded(room.distance_m),
        "width_m": width_m,
        "depth_m": depth_m,
        "height_m": height_m,
    }


def measured(path: str, scratch: Path) -> Response:
    """The response (T,) of a file from its direct sound to its noise, read in the sandbox.

    Raises Rejected for a file that is missing, no sound, damaged, or silent.
    """
    check_file(path)
    target = scratch / "response.f32"
    with naming(path):
        try:
            arguments = {"path": path, "target": str(target)}
            run_limited("tasks.room_read:read_response", arguments, LIMITS)
            response = np.fromfile(target, np.float32).astype(np.float64)
        finally:
            target.unlink(missing_ok=True)
        return until_noise(from_direct(response, AUDIO48_HZ), AUDIO48_HZ)


def room_row(
    item: dict[str, Any],
    response: Response,
    facts: dict[str, Any],
    config: RoomsConfig,
    blobs: Blobs,
) -> dict[str, Any]:
    """The `rooms` row of a response (T,), which it stores.

    Raises Rejected("no_response") for a sound that does not die away as a room does.
    """
    response = response[: count(config.max_length_s, AUDIO48_HZ)]
    reverberation_s = t60_s(response, AUDIO48_HZ)
    if reverberation_s is None:
        raise Rejected("no_response", "what follows the direct sound does not die away")
    ref = blobs.put_bytes(response_bytes(response), ".flac")
    measures = {
        "t60_s": rounded(reverberation_s),
        "drr_db": rounded(drr_db(response, AUDIO48_HZ)),
        "length_s": rounded(len(response) / AUDIO48_HZ),
    }
    return {
        "item_id": item["item_id"],
        "room_id": hash_of("room", hash_in(ref)),
        "kind": item["kind"],
        "name": item["item_id"].partition(":")[2],
        **facts,
        **measures,
        "ref": ref,
    }


def response_bytes(response: Response) -> bytes:
    """The response (T,) as a mono 24-bit FLAC file at 48 kHz, scaled to what that can hold."""
    import soundfile

    sink = io.BytesIO()
    scaled = response * (PEAK / np.abs(response).max())
    soundfile.write(sink, scaled, AUDIO48_HZ, format="FLAC", subtype="PCM_24")
    return sink.getvalue()


def _given(catalog: "Catalog", config: RoomsConfig) -> dict[str, pa.Table]:
    return {"room_listing": list_rooms(config)}


STAGE = Stage(
    name="rooms",
    title="make rooms",
    version=1,
    config=RoomsConfig,
    # Where nobody speaks, nobody needs a room.
    items="""
        SELECT item_id, kind, number, uri AS _uri, size_bytes, mtime_ns, 1.0 AS cost_s
        FROM room_listing
        WHERE EXISTS (
            FROM kinds WHERE kept AND kind IN ('speech_on_screen', 'speech_off_screen')
        )
    """,
    outputs=(Output("rooms", key="item_id"),),
    run=rooms_shard,
    selects=("count", "folder"),
    given=_given,
)
