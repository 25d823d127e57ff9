"""A real S3-compatible server for the tests, and workspaces that lie in it or in a folder."""

import json
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.claim import NOTE
from storage.workspace import ADDRESSES, Workspace

BUCKET = "talkies-tests"
KEY_ID, SECRET_KEY = "tests-key", "tests-SECRET-words"
READER_ID, READER_KEY = "reader-key", "reader-SECRET-words"
PATIENCE_S = 60.0
PORTS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True, slots=True)
class StoreServer:
    """A running store."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to work with it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": "us-east-1",
        }


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def running_store(folder: Path) -> Iterator[StoreServer]:
    """A SeaweedFS server of this test session, which ends with it.

    Raises FileNotFoundError where its program is not installed, and RuntimeError with the end of
    its log where it does not come up.
    """
    program = shutil.which("weed") or str(Path(sys.executable).with_name("weed"))
    identities = [
        (KEY_ID, SECRET_KEY, ["Admin", "Read", "Write", "List"]),
        (READER_ID, READER_KEY, ["Read", "List"]),
    ]
    config = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for key, secret, actions in identities
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": config}))
    ports = free_ports(2 * len(PORTS))
    command = [program, f"-logdir={folder}", "server", f"-dir={folder}", "-filer", "-s3"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
    command += [f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'f.sock'}"]
    command += ["-volume.max=40", "-master.volumeSizeLimitMB=64", "-volume.preStopSeconds=0"]
    for name, port, grpc in zip(PORTS, ports[::2], ports[1::2], strict=True):
        command += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
    log = folder / "weed.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=folder)
    try:
        server = StoreServer(f"http://127.0.0.1:{ports[-2]}")
        _wait_for(server, process, log)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_for(server: StoreServer, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when the server has made the tests' bucket."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    client = S3FileSystem(
        access_key=KEY_ID,
        secret_key=SECRET_KEY,
        region="us-east-1",
        endpoint_override=server.endpoint,
        allow_bucket_creation=True,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),
    )
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.create_dir(BUCKET)
            with client.open_output_stream(f"{BUCKET}/ready") as stream:
                stream.write(b"ready")
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                end = log.read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"the store does not come up: {error}\n{end}") from error
            time.sleep(0.1)


def fresh_url() -> str:
    """The address of a workspace that nobody has."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"


def placed(root: Path, where: str) -> Path:
    """A folder whose workspace lies in it ("local") or in the store ("s3")."""
    root.mkdir(parents=True, exist_ok=True)
    if where == "s3":
        known = {"data_url": fresh_url(), "catalog_url": ""}
        (root / ADDRESSES).write_text(json.dumps(known))
    return root


def copied(template: Workspace, root: Path) -> Workspace:
    """A copy of a workspace, with its files where the template has them."""
    shutil.copytree(template.root, root, dirs_exist_ok=True)
    if not template.data_url:
        return Workspace.at(root)
    (root / ADDRESSES).unlink()
    copy = Workspace.at(placed(root, "s3"))
    for entry in template.store.listing(""):
        with template.store.open(entry.ref) as file:
            copy.store.upload_bytes(bytes(file.read()), entry.ref)
    return copy


def stored(workspace: Workspace) -> set[str]:
    """Every file of a workspace where its files lie, and of the folder what never leaves it."""
    on_disk = {entry.ref for entry in workspace.copies("")}
    if not workspace.data_url:
        return on_disk
    own = {ref for ref in on_disk if ref.startswith(("scratch/", "corpus/", "notes"))}
    return own | ({entry.ref for entry in workspace.store.listing("")} - {NOTE})


def put(workspace: Workspace, ref: str, data: bytes) -> None:
    """Puts a file where the workspace's files lie, past all that talkies does when it writes."""
    path = workspace.root / ref
    if workspace.data_url and not ref.startswith(("scratch/", "corpus/", "notes")):
        workspace.store.upload_bytes(data, ref)
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def content(workspace: Workspace, ref: str) -> bytes:
    """The bytes of a file where the workspace's files lie."""
    with workspace.open(ref) as file:
        return bytes(file.read())


def drop_copies(workspace: Workspace) -> None:
    """What a second machine has: the metadata and no file."""
    for folder in ("blobs", "shards", "checkpoints", "soundtracks", "reports"):
        shutil.rmtree(workspace.root / folder, ignore_errors=True)
