"""docs/catalog.md: it is what the schema gives, and it names everything."""

from pathlib import Path

import pytest

from storage.catalog_page import main, page
from storage.rejects import LIMIT_REASONS, REASONS
from storage.schema import TABLES, VIEWS

COMMITTED = Path(__file__).parents[2] / "docs" / "catalog.md"


def test_the_committed_page_is_what_the_schema_gives() -> None:
    assert COMMITTED.read_text() == page(), (
        "the schema has changed: run `python -m storage.catalog_page docs/catalog.md`"
    )


@pytest.mark.parametrize("name", [*TABLES, *VIEWS])
def test_a_table_or_view_has_a_section_with_all_its_columns(name: str) -> None:
    described = VIEWS[name] if name in VIEWS else TABLES[name]
    section = page().split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert described.text in section
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert [row[0].strip("| `") for row in rows] == [column.name for column in described.columns]
    assert all(len(row) == 5 for row in rows)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reject_reason_stands_on_the_page_with_its_mend(reason: str) -> None:
    limit = "yes" if reason in LIMIT_REASONS else ""
    assert f"| `{reason}` | {REASONS[reason]} | {limit} |" in page().splitlines()


def test_the_page_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    main(str(tmp_path / "docs" / "page.md"))
    assert (tmp_path / "docs" / "page.md").read_text() == page()
