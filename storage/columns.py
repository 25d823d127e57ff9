"""What tables and views are made of: columns with a type, a meaning, a unit and an example."""

from dataclasses import dataclass

import pyarrow as pa

STRING, DOUBLE, LONG, INT, BOOL = (
    pa.string(),
    pa.float64(),
    pa.int64(),
    pa.int32(),
    pa.bool_(),
)
TIME = pa.timestamp("us", tz="UTC")
STRINGS = pa.list_(STRING)
DOUBLES = pa.list_(DOUBLE)
INTS = pa.list_(INT)
LONGS = pa.list_(LONG)
SPANS = pa.list_(pa.struct([("start_s", DOUBLE), ("end_s", DOUBLE)]))
POINTS = pa.list_(pa.struct([("time_s", DOUBLE), ("probability", DOUBLE)]))
VERDICTS = pa.list_(
    pa.struct(
        [
            ("position", INT),
            ("gate", STRING),
            ("value", DOUBLE),
            ("threshold", DOUBLE),
            ("passed", BOOL),
        ]
    )
)
CUES = pa.list_(
    pa.struct([("start_s", DOUBLE), ("end_s", DOUBLE), ("text", STRING), ("language", STRING)])
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type, what it means, its unit and an example.

    Attributes:
        name: with the unit as its end where it is a quantity.
        type: Arrow type.
        text: what it means, one sentence or more.
        unit: of a quantity; empty for names, ids and plain counts of the row's own things.
        example: a value from a real catalog; long ids are cut with an ellipsis.
        nullable: a row may be without it.
        volatile: may differ between two runs over the same input.
        default: what rows have that were written before the column was added; NULL if None.
    """

    name: str
    type: pa.DataType
    text: str
    unit: str = ""
    example: str = ""
    nullable: bool = False
    volatile: bool = False
    default: str | float | bool | None = None

    @property
    def comment(self) -> str:
        """What the catalog itself says of the column: its meaning and unit."""
        return self.text + (f" [{self.unit}]" if self.unit else "")


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
    """A named query over tables: what one row is, the SQL, its columns, and how to ask it."""

    name: str
    text: str
    sql: str
    columns: tuple[Column, ...]
    query: str


def optional(name: str, kind: pa.DataType, text: str, unit: str = "", example: str = "") -> Column:
    """A column that may be NULL."""
    return Column(name, kind, text, unit, example, nullable=True)


def measured(name: str, kind: pa.DataType, text: str, unit: str = "", example: str = "") -> Column:
    """A column that differs from run to run: clock times, measured seconds, paths."""
    return Column(name, kind, text, unit, example, volatile=True)


def table(name: str, text: str, key: str, *columns: Column) -> Table:
    """A table whose rows end with the run that wrote them; the key's names have spaces between."""
    return Table(name, text, tuple(key.split()), (*columns, RUN))


def view(name: str, text: str, query: str, sql: str, *columns: Column) -> View:
    """A view; the query is an example of how to ask it."""
    return View(name, text, sql.strip(), columns, query)


RUN = measured("run_id", STRING, "Run that wrote the row.", "", "r-20261123-034505-21cda0")
