"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# Before torch and OpenMP are loaded: one thread keeps results and times the same on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from storage.workspace import Workspace
from tests.made_server import NoServer, Server, running_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Flow tests talk to Prefect's server on this machine; all other sockets stay blocked."""
    for item in items:
        if item.get_closest_marker("flow") is not None:
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1", "::1"]))


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the settings of whoever runs the tests out of them; the cache of weights is shared."""
    for name in list(os.environ):
        if name.startswith("TALKIES_") and name != "TALKIES_CACHE":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server of this session; skips where no binaries of one run."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(running_server())
        except NoServer as error:
            pytest.skip(str(error))
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request: pytest.FixtureRequest) -> str:
    """The address of a catalog that nobody has made yet: none for SQLite, and in PostgreSQL."""
    return "" if request.param == "sqlite" else request.getfixturevalue("server").new_url()


@pytest.fixture
def room(catalog_url: str, workspace: Path) -> Workspace:
    """An empty workspace, with its catalog in SQLite and in PostgreSQL."""
    return Workspace.at(workspace, catalog_url).make()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty folder for a workspace."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with the same stream in every test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def demo_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo corpus in a folder of this session; skips where the cache lacks it."""
    from tasks.corpus import assemble_corpus, missing_files

    if missing := missing_files():
        pytest.skip(
            f"{len(missing)} corpus files are not cached, the first is {missing[0]}: "
            "run `.venv/bin/python -m tasks.corpus --fetch`"
        )
    return assemble_corpus(tmp_path_factory.mktemp("corpus"))
