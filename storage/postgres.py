"""The PostgreSQL database that holds a catalog's metadata: its address, its errors as one line.

Each workspace has a schema of its own, `talkies` unless the address says `?schema=NAME`, so that
several workspaces can share a database. A password is best left to PGPASSWORD or ~/.pgpass; one in
the address reaches the server and nothing else: no message, no row, no text of SQL.
"""

import os
import re
import socket
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

SCHEMA = "talkies"
NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# A network that swallows packets is noticed after this long, not after the kernel's two hours.
PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
SUPPORTED = 12
UNANSWERED = (
    "refused",
    "no such file",
    "timeout",
    "timed out",
    "translate host name",
    "resolve host",
    "no route",
    "unreachable",
    "starting up",
    "shutting down",
)

Problem = Literal["unanswered", "password", "database", "other"]


class CatalogUnreachable(RuntimeError):
    """The PostgreSQL server of the catalog does not answer, or does not let us in."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where a catalog's metadata lies in PostgreSQL.

    Attributes:
        conninfo: libpq's connection string without a password.
        schema: the schema of the workspace's tables.
        password: from the address; empty where libpq finds it itself.
    """

    conninfo: str
    schema: str = SCHEMA
    password: str = field(default="", repr=False)

    @classmethod
    def at(cls, url: str) -> Self:
        """The database of `postgresql://user@host:port/name?schema=…`; asks nothing.

        Raises ValueError for an address that libpq does not understand or a bad schema's name.
        """
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        schema = query.pop("schema", SCHEMA)
        if not NAME.fullmatch(schema):
            raise ValueError(
                f"catalog schema {schema!r}: give up to 63 of a-z, 0-9 and _, no digit first"
            )
        try:
            asked = urlencode(query)
            known = conninfo_to_dict(f"postgresql://{parts.netloc}{parts.path}?{asked}")
        except psycopg.ProgrammingError:
            # Its own words may quote the password.
            raise ValueError(
                "catalog address: libpq does not understand it; give postgresql://user@host/database"
            ) from None
        password = str(known.pop("password", "") or "")
        told = {name: str(value) for name, value in known.items()}
        told.setdefault("application_name", f"talkies {socket.gethostname()} {os.getpid()}"[:63])
        return cls(make_conninfo("", **(PATIENCE | told)), schema, password)

    def __str__(self) -> str:
        """Host, database and schema, for messages."""
        known = self._known()
        host, port = known.get("host"), known.get("port")
        place = host or os.environ.get("PGHOST") or "the local socket"
        name = self.name
        return f"PostgreSQL at {place}{f':{port}' if port else ''}, {name}, schema {self.schema}"

    @property
    def name(self) -> str:
        """`database NAME`, as libpq fills it in."""
        known = self._known()
        found = known.get("dbname") or os.environ.get("PGDATABASE") or self.user
        return f"database {found}"

    @property
    def user(self) -> str:
        """The user, as libpq fills it in."""
        return self._known().get("user") or os.environ.get("PGUSER") or os.environ.get("USER", "?")

    def _known(self) -> dict[str, str]:
        return {name: str(value) for name, value in conninfo_to_dict(self.conninfo).items()}

    def connect(self) -> psycopg.Connection[Any]:
        """A connection that commits each statement; raises CatalogUnreachable."""
        given = {"password": self.password} if self.password else {}
        try:
            return psycopg.connect(make_conninfo(self.conninfo, **given), autocommit=True)
        except psycopg.OperationalError as error:
            told = self.explained(error)
        raise CatalogUnreachable(told)

    def explained(self, error: psycopg.Error) -> str:
        """What a connection that failed means, on one line and with its mend."""
        said = _last_line(error)
        match problem_of(said):
            case "unanswered":
                return f"{self} does not answer ({said}); start the server, or mend --catalog"
            case "password":
                return (
                    f"{self} does not let user {self.user} in ({said}); set PGPASSWORD, or a line "
                    "in ~/.pgpass"
                )
            case "database":
                return (
                    f"{self}: there is no such database; make it with createdb, or mend --catalog"
                )
            case "other":
                return f"{self}: {said}"

    def version(self) -> tuple[int, str]:
        """The server's major version, and its whole one; raises CatalogUnreachable."""
        with self.connect() as connection:
            row = connection.execute("SHOW server_version").fetchone()
            return connection.info.server_version // 10_000, str(row[0] if row else "?")

    def has_lake(self) -> bool:
        """Whether the schema holds a catalog; raises CatalogUnreachable."""
        with self.connect() as connection:
            return has_lake(connection, self.schema)

    def make_schema(self) -> None:
        """Makes the schema where it is missing; raises CatalogUnreachable."""
        with self.connect() as connection:
            there = connection.execute(
                "SELECT 1 FROM pg_namespace WHERE nspname = %s", [self.schema]
            ).fetchone()
            if there:
                return
            made = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.schema))
            try:
                connection.execute(made)
            except psycopg.errors.UniqueViolation:
                # Another process made it at the same moment.
                return
            except psycopg.errors.InsufficientPrivilege:
                told = (
                    f"{self}: user {self.user} may not make the schema; let an administrator "
                    f"CREATE SCHEMA {self.schema} AUTHORIZATION {self.user}"
                )
                raise CatalogUnreachable(told) from None

    def secret(self, name: str) -> str:
        """The SQL that gives DuckDB the password, which no ATTACH then names."""
        password = self.password.replace("'", "''")
        given = f", PASSWORD '{password}'" if password else ""
        return f"CREATE OR REPLACE TEMPORARY SECRET {name} (TYPE postgres{given})"


def has_lake(connection: psycopg.Connection[Any], schema: str) -> bool:
    """Whether a schema holds DuckLake's tables."""
    row = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL", [f'"{schema}".ducklake_snapshot']
    ).fetchone()
    return bool(row and row[0])


def problem_of(said: str) -> Problem:
    """The kind of problem that the text of a failed connection tells of."""
    text = said.lower()
    if "password" in text or "authentication" in text or "no pg_hba.conf entry" in text:
        return "password"
    if "database" in text and "does not exist" in text:
        return "database"
    if any(word in text for word in UNANSWERED):
        return "unanswered"
    return "other"


def _last_line(error: psycopg.Error) -> str:
    """The server's words; libpq says the failure of each address that it tried on its own line."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    told = [line for line in lines if "failed:" in line] or lines[:1] or [type(error).__name__]
    return told[-1].rpartition("failed:")[2].strip().removeprefix("FATAL:").strip()
