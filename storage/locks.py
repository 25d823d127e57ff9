"""Who may write a catalog now.

On one machine a workspace's folder has one writer, by a lock of its file system: builds of one
folder would share its scratch and only compete for its cores. Where the metadata lies in
PostgreSQL, folders of several machines build at once. They hold a lock of the server's together;
what sweeps, compacts, forgets or restores holds it alone; and each commit is made under a short
lock of its own, so that commits wait for each other and do not conflict. The server frees the locks
of a process that was killed, or that it no longer hears of.
"""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import psycopg

from storage.postgres import CatalogUnreachable, Database
from storage.settings import Settings
from storage.workspace import Workspace, WorkspaceBusy

Purpose = Literal["building", "committing"]


class Gate:
    """The locks of one process on one catalog; opened when the first is taken."""

    def __init__(self, workspace: Workspace) -> None:
        """Takes and asks nothing."""
        self.workspace = workspace
        self._server = ServerLocks(workspace.catalog_url) if workspace.catalog_url else None
        self._depth = 0

    def close(self) -> None:
        """Frees what is held on the server."""
        if self._server:
            self._server.close()

    @contextmanager
    def building(self) -> Iterator[None]:
        """Holds the folder's writer lock, and on the server one that builds hold together.

        Raises WorkspaceBusy where another process has the folder, or the whole catalog alone, and
        CatalogUnreachable.
        """
        with self.workspace.make().writing():
            if self._server is None:
                yield
                return
            with self._server.held("building", is_shared=True):
                yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the folder's writer lock and keeps every other machine's builds out.

        Raises WorkspaceBusy where any process writes, and CatalogUnreachable.
        """
        with self.workspace.make().writing():
            if self._server is None:
                yield
                return
            with self._server.held("building", is_shared=False):
                yield

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Holds the lock of one commit; waits for other commits, and may be nested.

        Raises WorkspaceBusy after `commit_wait_s`, and CatalogUnreachable.
        """
        self._depth += 1
        try:
            if self._depth > 1:
                yield
            elif self._server:
                with self._server.waited_for("committing"):
                    yield
            else:
                with self._folder_commit():
                    yield
        finally:
            self._depth -= 1

    @contextmanager
    def _folder_commit(self) -> Iterator[None]:
        path = self.workspace.root / "scratch" / "commit.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def running(self, run_id: str) -> Iterator[None]:
        """Shows other machines that a run is alive."""
        if self._server is None:
            yield
            return
        with self._server.held(run_id, is_shared=False):
            yield

    def is_running(self, run_id: str) -> bool:
        """Whether another machine's run is alive; for whoever holds the folder's writer lock."""
        return self._server is not None and self._server.is_held(run_id)


class ServerLocks:
    """Advisory locks of PostgreSQL on a connection of their own, taken again when it was lost."""

    def __init__(self, catalog_url: str) -> None:
        """Asks nothing."""
        self.database = Database.at(catalog_url)
        self._connection: psycopg.Connection[Any] | None = None
        self._held: dict[str, bool] = {}

    def close(self) -> None:
        """Frees all locks."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._held.clear()

    @contextmanager
    def held(self, name: str, is_shared: bool) -> Iterator[None]:
        """Holds a lock, or raises WorkspaceBusy at once."""
        if not self._take(self._session(), name, is_shared):
            raise WorkspaceBusy(
                f"{self.database} is being written by {self._holders(name) or 'another process'}; "
                "wait for it or stop it"
            )
        self._held[name] = is_shared
        try:
            yield
        finally:
            self._held.pop(name, None)
            self._free(name, is_shared)

    @contextmanager
    def waited_for(self, name: str) -> Iterator[None]:
        """Holds a lock for which others are waited for; raises WorkspaceBusy after the time set."""
        wait_s = Settings().commit_wait_s
        session = self._session()
        try:
            session.execute("SELECT set_config('lock_timeout', %s, false)", [f"{wait_s:g}s"])
            session.execute("SELECT pg_advisory_lock(%s)", [self._key(name)])
        except psycopg.errors.LockNotAvailable:
            raise WorkspaceBusy(
                f"{self.database}: {self._holders(name) or 'another process'} has been committing "
                f"for {wait_s:g} s; stop it if it hangs"
            ) from None
        except psycopg.OperationalError as error:
            told = self.database.explained(error)
            raise CatalogUnreachable(told) from None
        try:
            yield
        finally:
            self._free(name, is_shared=False)

    def is_held(self, name: str) -> bool:
        """Whether any other process holds a lock."""
        session = self._session()
        if not self._take(session, name, is_shared=False):
            return True
        self._free(name, is_shared=False)
        return False

    def _session(self) -> psycopg.Connection[Any]:
        """The connection; a lost one is opened again, and what was held on it is taken again."""
        if self._connection is not None:
            try:
                self._connection.execute("SELECT 1")
                return self._connection
            except psycopg.Error:
                self._connection.close()
        self._connection = self.database.connect()
        for name, is_shared in self._held.items():
            if not self._take(self._connection, name, is_shared):
                raise WorkspaceBusy(
                    f"{self.database}: the connection was lost, and {self._holders(name)} writes "
                    "now; run the same command again after it"
                )
        return self._connection

    def _take(self, session: psycopg.Connection[Any], name: str, is_shared: bool) -> bool:
        function = "pg_try_advisory_lock_shared" if is_shared else "pg_try_advisory_lock"
        row = session.execute(f"SELECT {function}(%s)", [self._key(name)]).fetchone()
        return bool(row and row[0])

    def _free(self, name: str, is_shared: bool) -> None:
        function = "pg_advisory_unlock_shared" if is_shared else "pg_advisory_unlock"
        # A connection that is gone has freed it.
        with suppress(psycopg.Error):
            if self._connection is not None:
                self._connection.execute(f"SELECT {function}(%s)", [self._key(name)])

    def _key(self, name: str) -> int:
        digest = hashlib.sha256(f"talkies {self.database.schema} {name}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def _holders(self, name: str) -> str:
        """The names of the connections that hold a lock: program, machine, process."""
        high, low = divmod(self._key(name) & 0xFFFFFFFFFFFFFFFF, 1 << 32)
        rows = (
            self._connection.execute(
                "SELECT DISTINCT a.application_name FROM pg_locks l JOIN pg_stat_activity a "
                "USING (pid) WHERE l.locktype = 'advisory' AND l.granted "
                "AND l.classid = %s::oid AND l.objid = %s::oid AND a.pid <> pg_backend_pid() "
                "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                [str(high), str(low)],
            ).fetchall()
            if self._connection is not None
            else []
        )
        return ", ".join(str(row[0]) for row in rows)
