"""The adapter of av-benchmark, against a script that takes its arguments and writes its result."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models.timeline import AUDIO_HZ
from tasks.av_benchmark import (
    METRICS,
    WEIGHTS,
    BenchmarkError,
    benchmark_rows,
    read_result,
    require_tool,
)
from tasks.av_export import AvExport
from tasks.weights import MissingWeight

# It says as each Fréchet distance how far the mean power of the sounds is from the truth's.
FAKE = """
import argparse, json, pathlib, wave
parser = argparse.ArgumentParser()
for name in ("gt_audio", "gt_cache", "pred_audio", "pred_cache"):
    parser.add_argument("--" + name, type=pathlib.Path)
parser.add_argument("--audio_length", type=float)
parser.add_argument("--pred_batch_size", type=int, default=64)
parser.add_argument("--skip_clap", action="store_true")
parser.add_argument("--skip_video_related", action="store_true")
said = parser.parse_args()
assert said.audio_length == 0.5 and said.pred_batch_size == 1 and said.skip_clap

def power(folder):
    files = sorted(folder.glob("*.wav"))
    bytes_of = [wave.open(str(file)).readframes(10**9) for file in files]
    samples = [memoryview(each).cast("h") for each in bytes_of]
    return [file.stem for file in files], sum(sum(map(abs, each)) for each in samples)

(names, true), (same, made) = power(said.gt_audio), power(said.pred_audio)
assert names == same
metrics = {"FD-VGG": abs(made - true), "KL-PANNS-softmax": float("nan"), "New-Score": 1.0}
if not said.skip_video_related:
    metrics["DeSync"] = len((said.gt_cache / "seen.txt").read_text().split())
said.pred_cache.mkdir(parents=True)
(said.pred_cache / "output_metrics.json").write_text(json.dumps(metrics))
"""
FAKE_VIDEO = """
import pathlib, sys
said = dict(zip(sys.argv[1::2], sys.argv[2::2]))
cache = pathlib.Path(said["--gt_cache"])
cache.mkdir(parents=True, exist_ok=True)
names = " ".join(file.stem for file in pathlib.Path(said["--video_path"]).glob("*.mp4"))
(cache / "seen.txt").write_text(names)
"""


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A folder that looks like a checkout of the tool, with its weights."""
    folder = tmp_path / "av-benchmark"
    (folder / "av_bench").mkdir(parents=True)
    (folder / "evaluate.py").write_text(FAKE)
    (folder / "extract_video.py").write_text(FAKE_VIDEO)
    for name in WEIGHTS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"weights")
    return folder


def exported(scratch: Path) -> AvExport:
    """Two items of a split, whose score is as loud as the truth, and whose noise is silent."""
    export = AvExport(scratch)
    for name, length_s in (("aa", 0.5), ("bb", 0.75)):
        sound = np.full(round(length_s * AUDIO_HZ), 0.25, np.float32)
        sounds = {"truth": sound, "score": -sound, "ceiling": 0.5 * sound, "control": 0 * sound}
        row = {"item_id": name, "split": "test", "task": "v2s", "duration_s": length_s}
        export.add(str(scratch), row, sounds)
    return export


def test_each_role_is_held_against_the_truth_by_the_tool(tool: Path, tmp_path: Path) -> None:
    (split,) = exported(tmp_path / "scratch").splits().items()
    rows = benchmark_rows(require_tool(str(tool)), *split)
    values = {row["role"]: row["value"] for row in rows}
    samples, level = round(1.25 * AUDIO_HZ), 0.25 * 32_768
    assert values == {"score": 0, "ceiling": samples * level / 2, "control": samples * level}
    assert {(row["metric"], row["task"], row["split"], row["items"]) for row in rows} == {
        ("avbench_fd_vgg", "all", "test", 2)
    }
    sound, rate_hz = soundfile.read(tmp_path / "scratch/av-benchmark/test/score/bb.wav")
    assert (len(sound), rate_hz) == (12_000, AUDIO_HZ)


def test_pictures_are_told_to_the_tool_where_there_are_some(
    tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    from tasks import av_export

    frames = np.zeros((5, 33, 48, 3), np.uint8)
    monkeypatch.setattr(av_export, "read_frames", lambda *given: frames)
    export = exported(tmp_path)
    sound = np.zeros(AUDIO_HZ, np.float32)
    row = {"item_id": "cc", "split": "test", "task": "v2s", "duration_s": 0.5, "start_s": 0.0,
           "end_s": 0.5, "frames10_ref": "blobs/cc"}  # fmt: skip
    export.add(str(tmp_path), row, dict.fromkeys(("truth", "score", "ceiling", "control"), sound))
    (split,) = export.splits().items()
    found = {row["metric"]: row for row in benchmark_rows(tool, *split) if row["role"] == "score"}
    assert (found["avbench_desync"]["value"], found["avbench_desync"]["unit"]) == (1, "s")
    with av.open(str(tmp_path / "av-benchmark/test/video/cc.mp4")) as film:
        (stream,) = film.streams
        assert (stream.frames, stream.width, stream.height) == (9, 48, 32)  # type: ignore[union-attr]
        assert stream.average_rate == 10


def test_what_is_missing_is_named_with_where_it_comes_from(tool: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeight, match=r"evaluate\.benchmark: .*nowhere.*evaluate\.py"):
        require_tool(str(tmp_path / "nowhere"))
    weight = tool / "weights/synchformer_state_dict.pth"
    weight.unlink()
    with pytest.raises(MissingWeight, match=r"lacks weights/synchformer.*MMAudio/releases"):
        require_tool(str(tool))


def test_a_tool_that_fails_says_what_it_said_last(tool: Path, tmp_path: Path) -> None:
    (tool / "evaluate.py").write_text("raise SystemExit('no CUDA here')")
    (split,) = exported(tmp_path).splits().items()
    with pytest.raises(BenchmarkError, match=r"evaluate\.py .* ended with 1: no CUDA here; try"):
        benchmark_rows(tool, *split)


def test_a_result_file_is_read_by_the_names_that_the_tool_gives(tmp_path: Path) -> None:
    path = tmp_path / "output_metrics.json"
    path.write_text(json.dumps({name: number for number, name in enumerate(METRICS)}))
    assert read_result(path) == [(*METRICS[name], number) for number, name in enumerate(METRICS)]
    path.write_text('{"FD": 1.0}')
    with pytest.raises(BenchmarkError, match="holds none of FD-VGG"):
        read_result(path)
    with pytest.raises(BenchmarkError, match="no result of av-benchmark"):
        read_result(tmp_path / "other.json")
