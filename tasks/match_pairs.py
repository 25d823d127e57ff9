"""Pairs of sources whose fingerprints agree somewhere: an inverted index, then a comparison.

All of it is SQL, so that it streams and spills. A *key* is a part of a fingerprint that is likely
to survive a re-encoding whole: one of three 21-bit parts of a picture's hash, or a whole value of
the sound. Two sources that share at least two different keys at the same shift are candidates; a
candidate is a pair where the mean share of differing bits over some stretch of it is small.

Only pairs with a fresh source are looked for: the cost of a new source is one scan for its own
keys. Half of the sound's keys, chosen by their own hash, is enough: a fifth of them survives AAC,
MP3 or Opus at 24 to 48 kbit/s, so that three seconds give five.
"""

from dataclasses import dataclass
from typing import Any

import duckdb

from tasks.fingerprint import (
    PICTURE_BITS,
    PICTURE_STEP_S,
    SOUND_BITS,
    SOUND_STEP_S,
)

CHUNK_KEYS = 400_000
SHIFTS = 4
MIN_KEYS = 2


@dataclass(frozen=True, slots=True)
class Sense:
    """One of the two fingerprints.

    Attributes:
        kind: kind of the relation that it gives.
        column: column of `fingerprints`.
        keys: SQL for the keys of a `value`, as a list; NULL is none.
        bits: bits of a value.
        step_s: seconds between two values.
        stretch: values over which two sources must agree.
        shortest: the same where one of them has fewer values than that.
        max_distance: largest mean share of differing bits.
    """

    kind: str
    column: str
    keys: str
    bits: int
    step_s: float
    stretch: int
    shortest: int
    max_distance: float


def picture_sense(stretch_s: float, max_distance: float) -> Sense:
    """How pictures are compared."""
    parts = ", ".join(
        f"nullif((value >> {shift}) & 2097151, 0) | {part << 21}"
        for part, shift in enumerate((0, 21, 42))
    )
    stretch = max(2, round(stretch_s / PICTURE_STEP_S))
    return Sense(
        "same_picture", "picture", f"[{parts}]", PICTURE_BITS, PICTURE_STEP_S, stretch, 2,
        max_distance,
    )  # fmt: skip


def sound_sense(stretch_s: float, max_distance: float) -> Sense:
    """How sounds are compared."""
    keys = "[CASE WHEN hash(value) % 2 = 0 THEN value::BIGINT END]"
    stretch = max(16, round(stretch_s / SOUND_STEP_S))
    return Sense("same_sound", "sound", keys, SOUND_BITS, SOUND_STEP_S, stretch, 16, max_distance)


def find_pairs(
    connection: duckdb.DuckDBPyConnection, sense: Sense, max_sources: int
) -> list[dict[str, Any]]:
    """The pairs of one sense in which at least one source is fresh, each once.

    Args:
        connection: holds the table `numbered`: n (from 0, in the order of ids), source_id,
            is_fresh; and `fingerprints`.
        sense: what is compared.
        max_sources: a key that more sources have tells nothing.

    Returns:
        Rows of a, b (numbers, a < b), kind, score, shift_s (where b begins in a), matched_s.
    """
    if not connection.execute("SELECT count(*) FROM numbered WHERE is_fresh").fetchall()[0][0]:
        return []
    _index(connection, sense, max_sources)
    _candidates(connection)
    return _compared(connection, sense)


def _index(connection: duckdb.DuckDBPyConnection, sense: Sense, max_sources: int) -> None:
    """Makes the table `posted`: the keys that a fresh source has, each with its sources and places.

    Keys of other sources are not written down, so that one new source costs one scan.
    """
    keys = f"""
        SELECT n, is_fresh, place, key FROM (
            SELECT n, is_fresh, place, unnest({sense.keys}) AS key FROM (
                SELECT n, is_fresh, unnest({sense.column}) AS value,
                       generate_subscripts({sense.column}, 1)::INTEGER AS place
                FROM numbered JOIN fingerprints USING (source_id) WHERE {{where}})
            WHERE value >= 0)
        WHERE key IS NOT NULL"""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE posted AS {keys.format(where='is_fresh')}")
    connection.execute(
        f"""INSERT INTO posted {keys.format(where="NOT is_fresh")}
            AND key IN (SELECT key FROM posted)"""
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE common AS
            SELECT key FROM posted WHERE key IN (
                SELECT key FROM posted GROUP BY key HAVING count(*) > {int(max_sources)})
            GROUP BY key HAVING count(DISTINCT n) > {int(max_sources)}"""
    )
    connection.execute("DELETE FROM posted WHERE key IN (FROM common)")


def _candidates(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the table `candidates`: a, b and the shifts at which they share most keys.

    Fresh sources are taken in parts of some hundred thousand keys, so that memory does not grow
    with their number.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE candidates (a INTEGER, b INTEGER, shift INTEGER)"
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE parts AS
            SELECT n, (sum(keys) OVER (ORDER BY n) // {CHUNK_KEYS})::INTEGER AS part FROM (
                SELECT n, count(*) AS keys FROM posted WHERE is_fresh GROUP BY n)"""
    )
    parts = connection.execute("SELECT DISTINCT part FROM parts ORDER BY part").fetchall()
    for (part,) in parts:
        connection.execute(
            f"""INSERT INTO candidates
                SELECT least(f.n, o.n) AS a, greatest(f.n, o.n) AS b,
                       if(f.n < o.n, f.place - o.place, o.place - f.place) AS shift
                FROM posted f JOIN posted o ON f.key = o.key
                WHERE f.n IN (SELECT n FROM parts WHERE part = ?)
                  AND f.n <> o.n AND (o.n < f.n OR NOT o.is_fresh)
                GROUP BY 1, 2, 3
                HAVING count(*) >= {MIN_KEYS} AND min(f.key) <> max(f.key)
                QUALIFY row_number() OVER (PARTITION BY a, b
                                           ORDER BY count(*) DESC, shift) <= {SHIFTS}""",
            [part],
        )


def _compared(connection: duckdb.DuckDBPyConnection, sense: Sense) -> list[dict[str, Any]]:
    """The candidates whose bits agree over a stretch, at the shift where they agree best."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE compared AS
            SELECT n, place, value FROM (
                SELECT n, unnest({sense.column}) AS value,
                       generate_subscripts({sense.column}, 1)::INTEGER AS place
                FROM numbered JOIN fingerprints USING (source_id)
                WHERE n IN (SELECT a FROM candidates UNION SELECT b FROM candidates))
            WHERE value >= 0"""
    )
    rows = connection.execute(
        f"""WITH sizes AS (SELECT n, count(*) AS size FROM compared GROUP BY n),
            wide AS (
                SELECT c.*, greatest({sense.shortest}, least({sense.stretch}, x.size, y.size))
                            AS stretch
                FROM candidates c JOIN sizes x ON x.n = c.a JOIN sizes y ON y.n = c.b),
            bits AS (
                SELECT c.a, c.b, c.shift, c.stretch, x.place,
                       bit_count(xor(x.value, y.value)) AS wrong
                FROM wide c JOIN compared x ON x.n = c.a
                JOIN compared y ON y.n = c.b AND y.place = x.place - c.shift),
            summed AS (
                SELECT a, b, shift, stretch, sum(wrong) OVER own AS total,
                       row_number() OVER own AS nth
                FROM bits WINDOW own AS (PARTITION BY a, b, shift ORDER BY place)),
            stretches AS (
                SELECT l.a, l.b, l.shift, l.stretch,
                       (l.total - coalesce(f.total, 0)) / (l.stretch * {sense.bits}) AS distance
                FROM summed l LEFT JOIN summed f
                  ON f.a = l.a AND f.b = l.b AND f.shift = l.shift AND f.nth = l.nth - l.stretch
                WHERE l.nth >= l.stretch)
            SELECT a, b, '{sense.kind}' AS kind, round(1 - min(distance), 4) AS score,
                   round(shift * {sense.step_s}::DOUBLE, 3) AS shift_s,
                   round((count(*) + any_value(stretch) - 1) * {sense.step_s}::DOUBLE, 3)
                       AS matched_s
            FROM stretches WHERE distance <= {sense.max_distance}
            GROUP BY a, b, shift
            QUALIFY row_number() OVER (PARTITION BY a, b ORDER BY min(distance), shift) = 1
            ORDER BY a, b"""
    ).to_arrow_table()
    return rows.to_pylist()
