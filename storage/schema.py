"""The catalog's tables and views: one Arrow schema a table, each column with its meaning.

`talkies catalog describe` and docs/catalog.md are made from here. A column marked volatile (run
ids, clock times, measured seconds) may differ between two runs over the same input; every other
column may not. Change the schema by adding: a nullable column at the end of its table, a table, a
view; raise SCHEMA_VERSION with it, and catalogs of older versions follow when they are opened
(storage/migrate.py).
"""

from storage.clip_tables import CLIP_TABLES
from storage.columns import Column, Table, View
from storage.model_tables import MODEL_TABLES
from storage.sight_tables import SIGHT_TABLES
from storage.sight_views import SIGHT_VIEWS
from storage.source_tables import SOURCE_TABLES
from storage.state_tables import STATE_TABLES
from storage.truth_tables import TRUTH_TABLES
from storage.views import VIEW_LIST

SCHEMA_VERSION = 4

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        *SOURCE_TABLES,
        *CLIP_TABLES,
        *SIGHT_TABLES,
        *TRUTH_TABLES,
        *MODEL_TABLES,
        *STATE_TABLES,
    )
}
VIEWS: dict[str, View] = {view.name: view for view in (*VIEW_LIST, *SIGHT_VIEWS)}

__all__ = ["SCHEMA_VERSION", "TABLES", "VIEWS", "Column", "Table", "View", "describe"]


def describe(name: str) -> list[dict[str, str]]:
    """The columns of a table or view with type, unit, meaning and example.

    Raises KeyError for a name that is neither.
    """
    described = VIEWS[name] if name in VIEWS else TABLES[name]
    return [
        {
            "column": column.name,
            "type": str(column.type),
            "unit": column.unit,
            "text": column.text,
            "example": column.example,
        }
        for column in described.columns
    ]
