"""Scores by av-benchmark, the tool by which the field compares: FD, KL, IS, IB-score and DeSync.

It is a program of its own, with requirements and weights that do not go with ours: it is run where
somebody has installed it, on the folders that its README asks for, and its result file is read.
"""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.scores import CEILING, CONTROL, SCORE, TRUTH, Row, Score, row_of
from tasks.weights import MissingWeight

TOOL = "av-benchmark (github.com/hkchengrex/av-benchmark)"
SCORES, PICTURES = "evaluate.py", "extract_video.py"
WEIGHTS = {
    "weights/synchformer_state_dict.pth": (
        "github.com/hkchengrex/MMAudio/releases/download/v0.1/synchformer_state_dict.pth"
    ),
    "weights/music_speech_audioset_epoch_15_esc_89.98.pt": (
        "huggingface.co/lukewys/laion_clap/resolve/main/music_speech_audioset_epoch_15_esc_89.98.pt"
    ),
}
"""What its README has to be downloaded by hand, and from where; the rest it downloads itself."""
RESULT = "output_metrics.json"
METRICS: dict[str, tuple[str, str]] = {
    "FD-VGG": ("avbench_fd_vgg", ""),
    "FD-PANN": ("avbench_fd_panns", ""),
    "FD-PASST": ("avbench_fd_passt", ""),
    "KL-PANNS-softmax": ("avbench_kl_panns", ""),
    "KL-PASST-softmax": ("avbench_kl_passt", ""),
    "ISC-PANNS-mean": ("avbench_is_panns", ""),
    "ISC-PASST-mean": ("avbench_is_passt", ""),
    "IB-Score": ("avbench_ib_score", ""),
    "DeSync": ("avbench_desync", "s"),
}
"""Metric and unit of each number of its result file."""
SOUNDS = (SCORE, CEILING, CONTROL)
LIMIT_S = 6 * 3600
"""Longest that one run may take."""
MESSAGE_LINES = 5


class BenchmarkError(RuntimeError):
    """The tool was run and gave no result; the message holds what it said last."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The sounds of a split as the tool takes them.

    Attributes:
        folder: holds a folder of WAV files for the truth and each role of SOUNDS, with equal names
            for an item; and perhaps `video` with MP4 files of these names.
        length_s: how much of each item is scored.
        items: how many there are.
    """

    folder: Path
    length_s: float
    items: int

    @property
    def videos(self) -> Path:
        """Where the pictures lie, for those items that have some."""
        return self.folder / "video"

    def sounds(self, role: str) -> Path:
        """Where the sounds of a role lie."""
        return self.folder / role

    def cache(self, role: str) -> Path:
        """Where the tool keeps what it made of them, and its result."""
        return self.folder / "cache" / role


def require_tool(checkout: str) -> Path:
    """The folder of an installed av-benchmark; raises MissingWeight where it is not whole."""
    folder = Path(checkout).expanduser().absolute()
    wanted = f"evaluate.benchmark: expected a checkout of {TOOL} at {folder}"
    for script in (SCORES, PICTURES, "av_bench"):
        if not (folder / script).exists():
            raise MissingWeight(
                f"{wanted}, which holds no {script}; clone it, install it with `pip install -e .` "
                "into a .venv of its own, and give its folder, or leave evaluate.benchmark empty"
            )
    for name, origin in WEIGHTS.items():
        if not (folder / name).is_file():
            raise MissingWeight(
                f"{wanted}, which lacks {name}; download it there from {origin}, or leave "
                "evaluate.benchmark empty"
            )
    return folder


def benchmark_rows(checkout: Path, split: str, exported: Exported) -> list[Row]:
    """Rows of `evaluations` of a split: what the tool says of each role beside the truth.

    It draws no intervals: low and high are the value. Raises BenchmarkError.
    """
    has_video = exported.videos.is_dir() and any(exported.videos.iterdir())
    told = ["--gt_cache", exported.cache(TRUTH), "--audio_length", exported.length_s]
    if has_video:
        _run(checkout, PICTURES, [*told, "--video_path", exported.videos])
    rows = []
    for role in SOUNDS:
        # One by one: sounds of a batch must be equally long.
        made = ["--pred_audio", exported.sounds(role), "--pred_cache", exported.cache(role)]
        made += ["--pred_batch_size", 1, "--skip_clap"]
        made += [] if has_video else ["--skip_video_related"]
        _run(checkout, SCORES, ["--gt_audio", exported.sounds(TRUTH), *told, *made])
        rows += [
            row_of((metric, role, "all", split), Score(value, value, value), exported.items, unit)
            for metric, unit, value in read_result(exported.cache(role) / RESULT)
        ]
    return rows


def read_result(path: Path) -> list[tuple[str, str, float]]:
    """Metric, unit and value of each finite number of a result file that METRICS knows.

    Raises BenchmarkError where there is no such file, or nothing that is known in it.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: no result of {TOOL}: {error}; run its {SCORES}") from error
    known = set(METRICS) & set(said) if isinstance(said, Mapping) else set()
    if not known:
        raise BenchmarkError(f"{path}: holds none of {', '.join(METRICS)}; is it of {TOOL}?")
    return [
        (*METRICS[name], float(said[name]))
        for name in METRICS
        if name in known and math.isfinite(float(said[name]))
    ]


def _run(checkout: Path, script: str, arguments: Sequence[object]) -> None:
    """Runs a script of the tool in its folder, by its own environment where it has one."""
    own = checkout / ".venv" / "bin" / "python"
    python = str(own) if own.is_file() else sys.executable
    command = [python, script, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, cwd=checkout, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{script} of {TOOL} took longer than {LIMIT_S} s") from error
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-MESSAGE_LINES:])
        raise BenchmarkError(
            f"{script} of {TOOL} at {checkout} ended with {done.returncode}: {last or 'no message'}"
            f"; try `{' '.join(command)}` there"
        )
