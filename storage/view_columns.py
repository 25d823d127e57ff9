"""What views are made of: the columns of the tables that they read."""

from dataclasses import replace

from storage.clip_tables import CLIP_TABLES
from storage.columns import Column
from storage.model_tables import MODEL_TABLES
from storage.sight_tables import SIGHT_TABLES
from storage.source_tables import SOURCE_TABLES
from storage.state_tables import STATE_TABLES

COLUMNS = {
    (table.name, column.name): column
    for table in (*SOURCE_TABLES, *CLIP_TABLES, *SIGHT_TABLES, *MODEL_TABLES, *STATE_TABLES)
    for column in table.columns
}


def of(table: str, *names: str) -> tuple[Column, ...]:
    """Columns that a view takes from a table as they are."""
    return tuple(COLUMNS[table, name] for name in names)


def joined(table: str, *names: str) -> tuple[Column, ...]:
    """Columns that a view takes from a table where it has a row; NULL where it has none."""
    return tuple(replace(column, nullable=True) for column in of(table, *names))
