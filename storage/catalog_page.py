"""docs/catalog.md: every table and view of the catalog and every reject reason, from the schema.

Run as `python -m storage.catalog_page docs/catalog.md` after a change of the schema.
"""

import sys
from pathlib import Path

from storage.columns import Column, Table, View
from storage.rejects import LIMIT_REASONS, REASONS
from storage.schema import SCHEMA_VERSION, TABLES, VIEWS
from storage.workspace import write_atomically

HEAD = """# The catalog

Schema version {version}: {tables} tables and {views} views. This page is made from the schema by
`python -m storage.catalog_page docs/catalog.md`, and a test compares the two. `talkies catalog
describe NAME` prints the same; `talkies catalog sql "SELECT …"` runs the examples.

A column is never NULL unless its type says so. Times are seconds, hours are hours of media. Ids are
hashes of content: `…` stands for their further digits. References (`…_ref`) are relative to the
workspace. *varies* marks what differs between two runs over the same input; all else is equal.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD.format(version=SCHEMA_VERSION, tables=len(TABLES), views=len(VIEWS)), _contents()]
    parts.append("# Views\n")
    parts += [_view(view) for view in VIEWS.values()]
    parts.append("# Tables\n")
    parts += [_table(table) for table in TABLES.values()]
    parts.append(_reasons())
    return "\n".join(parts)


def _contents() -> str:
    lines = ["| name | kind | one row is |", "|---|---|---|"]
    for kind, named in (("view", VIEWS), ("table", TABLES)):
        lines += [f"| [{n}](#{n}) | {kind} | {_cell(named[n].text)} |" for n in named]
    return "\n".join(lines) + "\n"


def _view(view: View) -> str:
    query = view.query.replace(" FROM ", "\nFROM ").replace(" WHERE ", "\nWHERE ")
    query = query.replace(" GROUP BY ", "\nGROUP BY ").replace(" ORDER BY ", "\nORDER BY ")
    return "\n".join(
        (f"## {view.name}\n", f"{view.text}\n", f"```sql\n{query}\n```\n", _columns(view.columns))
    )


def _table(table: Table) -> str:
    key = ", ".join(f"`{name}`" for name in table.key)
    return "\n".join(
        (f"## {table.name}\n", f"{table.text}\n", f"Key: {key}.\n", _columns(table.columns))
    )


def _reasons() -> str:
    lines = [
        "## Reject reasons\n",
        "The codes in `rejects.reason`, and what to do. `talkies catalog rejects` shows what was",
        "left out, with `--reasons` this list; `talkies catalog redrive --reason CODE` queues",
        "items again. What a *limit* ended is tried again by itself under another limit in the",
        "recipe; what is done, or was rejected for another reason, is not touched by limits.\n",
        "| code | meaning and mend | limit |",
        "|---|---|---|",
    ]
    for code, text in REASONS.items():
        lines.append(f"| `{code}` | {_cell(text)} | {'yes' if code in LIMIT_REASONS else ''} |")
    return "\n".join(lines) + "\n"


def _columns(columns: tuple[Column, ...]) -> str:
    lines = ["| column | type | unit | meaning | example |", "|---|---|---|---|---|"]
    for column in columns:
        kind = _type(column) + (" or NULL" if column.nullable else "")
        text = column.text + (" *varies*" if column.volatile else "")
        lines.append(
            f"| `{column.name}` | {kind} | {column.unit} | {_cell(text)} "
            f"| `{_cell(column.example)}` |"
        )
    return "\n".join(lines) + "\n"


def _type(column: Column) -> str:
    return str(column.type).replace("item: ", "").replace("<", "&lt;").replace(">", "&gt;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(path: str = "docs/catalog.md") -> None:
    """Writes the page."""
    write_atomically(Path(path), page().encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
