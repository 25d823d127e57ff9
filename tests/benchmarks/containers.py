"""Decodes one clip in 21 containers and codecs, and compares each with the MP4 and its own probe.

The clip is iscc-samples' `demo` (out of its source archive, fetched into the cache once). Run it as
`.venv/bin/python -m tests.benchmarks.containers`; `--media DIR` takes the files from a folder.
"""

import argparse
import dataclasses
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.timeline import AUDIO_HZ, VISUAL_FPS
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.decode import DecodeConfig, decode_item
from tasks.fetch import FetchSpec, fetch_members
from tasks.media import read_audio, read_frames
from tasks.sandbox import Limits, run_limited

RELEASE = ("iscc-samples", "0.6.0", "sdist")
ARCHIVE_SHA256 = "5714df1ecbc49df091042fabf2f96a9c99623eb442453598db26198c7d187d22"
FOLDER = "iscc_samples-0.6.0/iscc_samples/files/video/"
REFERENCE = ".mp4"
# AVI counts its empty packets, which repeat a picture, among its frames.
MOST_FRAMES_APART = 2
MOST_DIFFERENT = 12.0  # grey levels between the same picture in two codecs
ENVELOPE_HZ = 100
SHA256 = {
    "3g2": "13bc2e7e36d8ad3bfb2f10d43fb645c22c56a206094619216a552ca9c16a19b3",
    "3gp": "2b1075e8e91dfce9dcb697eb181cba9b2a0766bee5b0ed16273c07fc083656a6",
    "asf": "625add26a81a2a7195965253710ac22fe47f970c85ebe2761090da6983f319a3",
    "avi": "8ee919d87ec06bd41e487f7de502e1b47f15c6770bf44524026aaf2438e0f079",
    "f4v": "39c7258899bae944615a782c4991acbc366cc4e43cc7387d98f2c69777f33921",
    "flv": "05d2b06e605fa0d4f991990a7271355b55a3ac206f4bbef2e0ff3cf5243c8f3f",
    "gif": "a1c04948e5bbf17caec6f516d260af116046fddd1e1e51b28447a7b368333b2d",
    "m1v": "88ddd1dedaa683b2a99fa5315023941204b7cbe92bc31a65625df64ba8ae9e7e",
    "m4v": "bfe5f0e49fe909ba75d0b931d785c4ec2b2ff255988717de5fccec302fe1ed61",
    "mkv": "955baeb67338b0b872758f05438951db692c5b18e91eb3a2f3c6801671a0a79f",
    "mov": "6b7b139f7e1e3dac887608d85c0e221fe96c84f1f8a3b84e75db2001fa7ab643",
    "mp4": "08a2851bd5e01ae0bdce47e1a5b9c58538888dd9c593e1c3807eb20702bde5c7",
    "mpeg": "961e99a6b8e930b7bc76e6d627ffc39359ab3f6708e9c04a110372d8c98bdf23",
    "mpg": "961e99a6b8e930b7bc76e6d627ffc39359ab3f6708e9c04a110372d8c98bdf23",
    "ogg": "c73909f311df9230086e61fdeef0c1b1157cc91b8b032e2ed865c8f78947989d",
    "ogv": "601f7645de7e85b879ffa557d14af66dde62cacd196f5d20a42064badaa83675",
    "rm": "21ae6fbec9e473225164d425f41e5a854338851c9958c90bff07140e66bbf1ba",
    "swf": "8dfc27466176244f9ecca560c0b4f1264d51e817a2a4d912fc2a959b6a23e934",
    "vob": "9773edd584ba7a563cb531718872109afdf9d475d8682ad093eaca639f469892",
    "webm": "b674edfd5d5b64e8f559fd65b00c51f888d29a070e2a1e60c0bfcc3ca0142ab0",
    "wmv": "f44662d2f6867ca1e1bc5a8e3b6411d3d6b9c529d9a10bc6e917b5cc804ef360",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A container as it was probed and decoded."""

    probe: dict[str, Any]
    row: dict[str, Any]
    facts: dict[str, Any]
    pictures: np.ndarray | None
    envelope: np.ndarray | None


def look_at(path: Path, workspace: Workspace) -> Seen:
    """Probes and decodes a file; raises Rejected where either does."""
    config = DecodeConfig(max_faces=0)
    probe = run_limited("tasks.probe:probe_file", {"path": str(path)}, Limits(60, 60, 1024, 1))
    facts = path.stat()
    digest = hashlib.sha256(path.read_bytes() + path.suffix.encode()).hexdigest()
    item = {"source_id": digest, "_uri": str(path), "cost_s": probe.value["duration_s"] or 60.0}
    item |= {"_size_bytes": facts.st_size, "_mtime_ns": facts.st_mtime_ns}
    row = decode_item(item, config, workspace.root, workspace.scratch("decode"))["decodes"][0]
    with tempfile.TemporaryDirectory() as folder:
        arguments = {"path": str(path), "folder": folder, "config": dataclasses.asdict(config)}
        limits = Limits(600, 600, config.memory_limit_mb, config.output_limit_mb)
        again = run_limited("tasks.decode_pass:decode_source", arguments, limits).value
    root, pictures, envelope = workspace.root, None, None
    if row["frames10_ref"]:
        pictures = read_frames(root, row["frames10_ref"], 0, row["duration_s"], VISUAL_FPS)
    if row["audio16_ref"]:
        audio = read_audio(root, row["audio16_ref"], 0, row["audio_s"], AUDIO_HZ)[0]
        step = AUDIO_HZ // ENVELOPE_HZ
        envelope = np.abs(audio[: len(audio) // step * step]).reshape(-1, step).mean(axis=1)
    return Seen(probe.value, row, again["facts"], pictures, envelope)


def stated_frames(probe: dict[str, Any]) -> int | None:
    """The number of pictures that the container states, or None."""
    videos = [stream for stream in probe["streams"] if stream["type"] == "video"]
    return videos[0].get("frames") if videos else None


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The mean absolute difference of pictures at the same times, in grey levels."""
    shared = min(len(one), len(other))
    steps = range(0, shared, 5)
    gaps = [np.abs(one[k].astype(np.int16) - other[k]).mean() for k in steps]
    return float(np.mean(gaps))


def lag_s(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The lag of one envelope behind another within 2 s, and their correlation there."""
    shared = min(len(one), len(other)) - 4 * ENVELOPE_HZ
    middle = other[2 * ENVELOPE_HZ :][:shared]
    scores = [np.corrcoef(one[k : k + shared], middle)[0, 1] for k in range(4 * ENVELOPE_HZ)]
    best = int(np.argmax(scores))
    return best / ENVELOPE_HZ - 2.0, float(scores[best])


def compare(name: str, seen: Seen, reference: Seen) -> bool:
    """Prints a line about a container; true where it is the same clip."""
    decoded = seen.facts["decoded_frames"]
    picture, lag, alike = None, None, None
    if seen.pictures is not None and reference.pictures is not None:
        picture = difference(seen.pictures, reference.pictures)
    if seen.envelope is not None and reference.envelope is not None:
        lag, alike = lag_s(seen.envelope, reference.envelope)
    fps = seen.probe.get("fps")
    cells = (
        seen.probe["container"][:12],
        f"{seen.probe.get('video_codec') or '-'}/{seen.probe.get('audio_codec') or '-'}",
        stated_frames(seen.probe) or "-",
        decoded.get("video", 0),
        f"{fps:.2f}" if fps else "-",
        f"{seen.probe['duration_s']:.2f}" if seen.probe["duration_s"] else "-",
        f"{seen.row['duration_s']:.2f}",
        f"{seen.row['audio_s']:.2f}" if seen.row["audio_s"] else "-",
        f"{picture:.1f}" if picture is not None else "-",
        f"{lag:+.2f}" if lag is not None else "-",
        f"{alike:.2f}" if alike is not None else "-",
    )
    print(f"{name:<7}{cells[0]:<13}{cells[1]:<22}" + "".join(f"{c:>9}" for c in cells[2:]))
    stated = stated_frames(seen.probe)
    same_frames = not stated or abs(stated - decoded.get("video", 0)) <= MOST_FRAMES_APART
    same_picture = picture is None or picture <= MOST_DIFFERENT
    return same_frames and same_picture and (lag is None or abs(lag) <= 0.05)


def media(folder: Path | None) -> list[Path]:
    """The clip in all its containers."""
    if folder is not None:
        return sorted(folder.glob("demo.*"))
    specs = [
        FetchSpec(*RELEASE, f"{FOLDER}demo.{suffix}", sha256, ARCHIVE_SHA256)
        for suffix, sha256 in SHA256.items()
    ]
    return fetch_members(specs)


def main() -> None:
    """Prints the table; fails where a container is neither alike nor rejected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, help="folder that holds demo.*")
    paths = media(parser.parse_args().media)
    heads = ("frames", "decoded", "fps", "probe s", "s", "sound s", "picture", "lag s", "sound r")
    print(f"{'':<7}{'container':<13}{'codecs':<22}" + "".join(f"{h:>9}" for h in heads))
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace.at(Path(name) / "workspace").make()
        (first,) = (path for path in paths if path.suffix == REFERENCE)
        reference = look_at(first, workspace)
        unlike = []
        for path in paths:
            try:
                seen = look_at(path, workspace)
            except Rejected as reject:
                print(f"{path.suffix:<7}rejected: {reject.reason}: {reject.message}")
                continue
            if not compare(path.suffix, seen, reference):
                unlike.append(path.suffix)
    print(f"load {os.getloadavg()[0]:.1f}; unlike the MP4: {', '.join(unlike) or 'none'}")


if __name__ == "__main__":
    main()
