"""The embedded Prefect server as a process: it ends with the command that started it.

Prefect's own embedded server outlives a command that is killed, and dies of the Ctrl-C that its
command still has to report. This one is leashed: it serves until its standard input ends.
"""

import os
import socket
import sys
import threading

import uvicorn

SHUTDOWN_S = 1


def serve(listening: int) -> None:
    """Serves Prefect's API on an open listening socket until the standard input ends."""
    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with_starter, args=(server,), daemon=True, name="leash").start()
    server.run(sockets=[socket.socket(fileno=listening)])


def _end_with_starter(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    server.should_exit = True
    threading.Timer(2 * SHUTDOWN_S, os._exit, [1]).start()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
