"""An environment for each peer, so that its old pins cannot meet ours.

`peers/NAME.txt` holds the exact versions with which the peer ran, and says in its first line which
Python they need. `.venv/bin/python -m tests.benchmarks.peer_environments NAME...` makes them; the
benchmarks do so by themselves.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LISTS = Path(__file__).parent / "peers"
FOLDER = Path(tempfile.gettempdir()) / "peers"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
"""Variables that hold a contender to one thread."""


def environment(name: str) -> Path:
    """The bin folder of a peer's environment, made where it is missing or its list has changed."""
    listed = (LISTS / f"{name}.txt").read_bytes()
    folder = FOLDER / name
    mark = folder / "list.sha256"
    digest = hashlib.sha256(listed).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        python = interpreter(re.findall(rb"^# Python (\d+\.\d+)", listed)[0].decode())
        uv = shutil.which("uv", path=Path(sys.executable).parent) or "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python"]
        subprocess.run([*install, "--requirement", LISTS / f"{name}.txt"], check=True)
        mark.write_text(digest)
    return folder / "bin"


def interpreter(version: str) -> str:
    """A Python of that version: one of pyenv's, whose wrappers uv cannot ask, or what uv finds."""
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    return str(found[-1]) if found else version


def main() -> None:
    """Makes the environments that are named and prints where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = sorted(path.stem for path in LISTS.glob("*.txt"))
    parser.add_argument("names", nargs="*", default=known, metavar="NAME", help=", ".join(known))
    for name in parser.parse_args().names:
        print(f"{name}: {environment(name)}")


if __name__ == "__main__":
    main()
