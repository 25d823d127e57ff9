"""A write that is tried again after what passes: a conflict, a busy file, a lost connection.

The waits grow exponentially and are drawn at random, so that writers who met once do not meet
again. A COMMIT whose answer was lost may have been done: what is tried again must look first.
"""

import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

import duckdb
import psycopg

from storage.postgres import CatalogUnreachable
from storage.settings import Settings

FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 5.0
SAID_LENGTH = 200
PASSING = re.compile(
    "|".join(
        (
            r"conflict",
            r"maximum retry count",
            r"ducklake_snapshot_pkey",
            r"database (table )?is locked",
            r"serializ",
            r"deadlock detected",
            r"server closed the connection",
            r"terminating connection",
            r"connection (to server|not open|reset|timed out|already closed)",
            r"could not (receive|send) data",
            r"no connection to the server",
            r"unable to connect to postgres",
            r"lost synchronization",
            r"ssl (connection|syscall)",
            r"the database system is (starting up|shutting down|in recovery)",
            r'failed to execute query "(ROLLBACK|BEGIN)[^"]*": *$',
        )
    ),
    re.IGNORECASE,
)
Result = TypeVar("Result")


class CommitFailed(RuntimeError):
    """A write that still failed after all tries; nothing of it is in the catalog."""


def is_passing(error: BaseException) -> bool:
    """Whether the same write may succeed later."""
    if isinstance(error, CatalogUnreachable | psycopg.OperationalError):
        return True
    return isinstance(error, duckdb.Error) and PASSING.search(str(error).strip()) is not None


def retried(attempt: Callable[[], Result], what: str) -> Result:
    """The result of an attempt, which is made again for up to `commit_wait_s`.

    Raises CommitFailed after that, and at once whatever does not pass.
    """
    limit_s = Settings().commit_wait_s
    started, tries, wait_s = time.monotonic(), 0, FIRST_WAIT_S
    while True:
        tries += 1
        try:
            return attempt()
        except Exception as error:
            if not is_passing(error):
                raise
            last = error
        pause_s = random.uniform(wait_s / 2, wait_s)
        if time.monotonic() - started + pause_s > limit_s:
            raise CommitFailed(
                f"{what} was not committed after {tries} tries in {limit_s:g} s: {said(last)}; "
                "nothing of it is in the catalog: mend that, or raise TALKIES_COMMIT_WAIT_S, and "
                "run the same command again"
            ) from last
        time.sleep(pause_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def said(error: BaseException) -> str:
    """What an error says, on one line and without the SQL that it quotes."""
    text = re.sub(r'query ".*": *', "", " ".join(str(error).split()), flags=re.DOTALL)
    return text if len(text) <= SAID_LENGTH else f"…{text[-SAID_LENGTH:]}"
