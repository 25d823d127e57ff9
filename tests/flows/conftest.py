"""A Prefect server for the whole session, and one built workspace that tests look at."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.command import Built, environment, made_recipe, made_sources, run_talkies


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a running Prefect server, for this process and its children.

    The flows of this process send no events, which nothing reads: their socket would stay open, and
    its pings draw from Python's own generator every 20 s: a draw that is ascribed to whatever test
    of the process then watches that generator.
    """
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker
    from websockets.asyncio.client import ClientConnection

    from flows.embedded import use_embedded_prefect
    from storage.workspace import Workspace

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.delenv("PREFECT_HOME", raising=False)
        wait = use_embedded_prefect(Workspace(tmp_path_factory.mktemp("prefect")).make())
        wait()
        EventsWorker.set_client_override(NullEventsClient)
        yield environment()
        EventsWorker.set_client_override(None)
    assert not [one for one in gc.get_objects() if type(one) is ClientConnection]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory, demo_corpus: Path) -> Path:
    """A small source folder: a read line, ambience, three films, two bad files."""
    return made_sources(tmp_path_factory.mktemp("sources"), demo_corpus)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, sources: Path, engine: dict[str, str]) -> Built:
    """The workspace of one undisturbed build, and what the command said; not to be written."""
    root = tmp_path_factory.mktemp("built")
    recipe = made_recipe(root / "small.yaml", sources)
    workspace = root / "workspace"
    said = run_talkies("build", recipe, "--workspace", workspace, env=engine)
    assert said.returncode == 0, said.stderr
    return Built(workspace, recipe, sources, said)
