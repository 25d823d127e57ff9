"""What headless Chromium finds wrong with a page, asked over its debugging pipe.

No socket is opened and no clock decides: the page says itself when its players are loaded or dead.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe",
)  # fmt: skip
LIMIT_S = 100.0
PLAYERS = """
(async () => {
  if (document.readyState !== "complete") await new Promise((go) => addEventListener("load", go));
  const players = [...document.querySelectorAll("audio, video")];
  const seconds = await Promise.all(players.map((p) => new Promise((done) => {
    if (p.readyState > 0) return done(p.duration);
    p.addEventListener("loadedmetadata", () => done(p.duration));
    p.addEventListener("error", () => done(0));
    p.load();
  })));
  const root = document.documentElement;
  return {seconds, wide: root.scrollWidth - root.clientWidth};
})()
"""


@dataclass
class Pipe:
    """Chromium's debugging protocol: NUL-terminated JSON on two file descriptors."""

    to: int
    source: Iterator[dict[str, Any]]
    events: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer to one command; events that come before it are kept."""
        self.sent += 1
        message: dict[str, Any] = {"id": self.sent, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        for answer in self.source:
            if answer.get("id") == self.sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)
        raise RuntimeError(f"Chromium ended, or took {LIMIT_S:g} s, before it answered {method}")


def check_page(path: Path, scratch: Path, width_px: int = 1400) -> list[str]:
    """What is wrong with a page: console errors, dead players, sideways overflow."""
    with _chromium(scratch / f"profile-{path.stem}-{width_px}") as pipe:
        target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
        session = pipe.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            pipe.call(f"{domain}.enable", session)
        metrics = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        pipe.call("Emulation.setDeviceMetricsOverride", session, **metrics)
        pipe.call("Page.navigate", session, url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in pipe.events):
            pipe.events.append(next(pipe.source))
        answer = pipe.call(
            "Runtime.evaluate", session, expression=PLAYERS, awaitPromise=True, returnByValue=True
        )
        found = answer["result"]["value"]
        problems = [text for event in pipe.events for text in _complaints(event)]
    problems += [f"player {i} has no sound" for i, s in enumerate(found["seconds"]) if not s]
    if found["wide"] > 0:
        problems.append(f"the page is {found['wide']} px wider than the screen")
    return problems


def _complaints(event: dict[str, Any]) -> Iterator[str]:
    said = event.get("params", {})
    if event["method"] == "Runtime.exceptionThrown":
        details = said["exceptionDetails"]
        yield str(details.get("exception", {}).get("description") or details["text"])
    elif event["method"] == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"):
        yield " ".join(str(argument.get("value")) for argument in said["args"])
    elif event["method"] == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
        yield said["entry"]["text"]


@contextmanager
def _chromium(profile: Path) -> Iterator[Pipe]:
    its_in, our_out = os.pipe()
    our_in, its_out = os.pipe()
    # Chromium reads descriptor 3 and writes descriptor 4.
    shell = ["bash", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "bash"]
    browser = subprocess.Popen(
        [*shell, str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(its_in, its_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_in)
    os.close(its_out)
    stop = Timer(LIMIT_S, browser.kill)
    stop.start()
    try:
        with os.fdopen(our_in, "rb") as stream:
            yield Pipe(our_out, _messages(stream))
    finally:
        stop.cancel()
        os.close(our_out)
        browser.kill()
        browser.wait()


def _messages(stream: Any) -> Iterator[dict[str, Any]]:
    left = b""
    while part := stream.read1(65536):
        *whole, left = (left + part).split(b"\0")
        yield from (json.loads(message) for message in whole)
