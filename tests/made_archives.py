"""Tars and datasets on disk as others write them, made of given bytes."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def write_tar(path: Path, members: Mapping[str, bytes], **how: int) -> Path:
    """A tar of members in their order; `how` goes to tarfile (such as its `format`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", encoding="utf-8", errors="surrogateescape", **how) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_special(path: Path, infos: list[tarfile.TarInfo]) -> Path:
    """A tar of headers alone: links, devices, folders."""
    with tarfile.open(path, "w") as tar:
        for info in infos:
            tar.addfile(info)
    return path
