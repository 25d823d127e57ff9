"""Prefect's embedded default: set before Prefect is imported, and only what nobody set."""

import atexit
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from storage.workspace import Workspace

DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # An error is one line of the command's own; Prefect's lines come with --debug.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "DO_NOT_TRACK": "1",
}
# What Prefect gives its own embedded server: no page, and only the services that record a run.
SERVER_DEFAULTS = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}
STARTUP_S = float(DEFAULTS["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"])
STOP_S = 5.0


class ServerFailed(RuntimeError):
    """The embedded Prefect server did not start."""


def use_embedded_prefect(workspace: Workspace, debug: bool = False) -> Callable[[], None]:
    """Begins to start a Prefect server for this process, unless the environment names one.

    Its state lies in the workspace. Returns what waits until it answers; Prefect is best imported
    meanwhile, because both take seconds. What waits raises ServerFailed.
    """
    if debug:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if "PREFECT_API_URL" in os.environ:
        return lambda: None
    os.environ.setdefault("PREFECT_HOME", str(workspace.root / "scratch" / "prefect"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = int(listening.getsockname()[1])
        server = _start_server(listening)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    # Registered before Prefect is imported, so it runs after Prefect has sent its last events.
    atexit.register(_stop, server)
    return lambda: _wait(server, port)


def _start_server(listening: socket.socket) -> subprocess.Popen[bytes]:
    handle = listening.fileno()
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("engine.py")), str(handle)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(handle,),
        env=SERVER_DEFAULTS | os.environ,
        # A Ctrl-C in the terminal is the command's to handle, and to report to the server.
        start_new_session=True,
    )


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STARTUP_S)
    try:
        # The socket listens already: the request waits in its queue until the server serves.
        connection.request("GET", "/api/health")
        status = connection.getresponse().status
    except OSError as error:
        os.environ.pop("PREFECT_API_URL")
        try:
            how = f"it ended with exit code {server.wait(STOP_S)}"
        except subprocess.TimeoutExpired:
            how = f"it does not answer after {STARTUP_S:g} s"
        raise ServerFailed(
            f"the embedded Prefect server did not start: {how}; see the lines above, "
            "or start one with `prefect server start` and set PREFECT_API_URL"
        ) from error
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise ServerFailed(f"the embedded Prefect server answers {status} to /api/health")


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.stdin is not None:
        server.stdin.close()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
