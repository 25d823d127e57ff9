"""The SQL of the documentation runs on the catalog as it is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.catalog import Catalog
from storage.workspace import Workspace

DOCS = Path(__file__).parents[2] / "docs"
# catalog.md is made from the schema, and its examples have a test of their own.
QUERIES = [
    (page.name, query)
    for page in sorted(DOCS.glob("*.md"))
    if page.name != "catalog.md"
    for block in re.findall(r"```sql\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    for query in re.split(r";$", block, flags=re.MULTILINE)
    if query.strip()
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Catalog(Workspace.at(tmp_path_factory.mktemp("documented")).make()) as made:
        yield made


def test_there_are_queries_in_the_documentation() -> None:
    assert {page for page, _ in QUERIES} >= {"world.md", "evaluation.md"}


@pytest.mark.parametrize(("page", "query"), QUERIES)
def test_a_documented_query_runs(catalog: Catalog, page: str, query: str) -> None:
    assert isinstance(catalog.rows(query), list), page
