"""Two processes that train together train as one, and end in the same weights after a kill."""

import contextlib
import dataclasses
import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from models.presets import PRESETS
from storage.stage import ShardTarget
from tasks import torchrun
from tasks.sample_store import SampleError
from tasks.train import train_dataset
from tasks.train_config import TrainConfig
from tasks.train_ranks import RankFailed, follow
from tasks.training_data import TrainingData
from tests.made_model import tiny_sizes
from tests.tasks.test_train import made_item, target, train, weights

ALONE = TrainConfig(
    joint_steps=4,
    mixture_steps=2,
    batch_size=8,
    crop_s=0.8,
    threads=1,
    log_every=2,
    save_every=2,
    ema=0.5,
    accumulate=2,
    device="cpu",
)
TOGETHER = dataclasses.replace(ALONE, ranks=2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[ShardTarget, dict[str, Any]]:
    """A training by two ranks that nothing disturbed."""
    out = target(tmp_path_factory.mktemp("ranks"), "undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", tiny_sizes)
        return out, train(out, TOGETHER)


def test_two_ranks_train_as_one_process_with_the_same_batch(
    undisturbed: tuple[ShardTarget, dict[str, Any]], tmp_path: Path
) -> None:
    together, found = undisturbed
    alone = target(tmp_path, "alone")
    assert_trained_alike((alone, train(alone, ALONE)), (together, found))


def test_two_ranks_frame_the_same_pictures_anew_as_one_process(tmp_path: Path) -> None:
    found: list[tuple[ShardTarget, dict[str, Any]]] = []
    for name, config in (("alone", ALONE), ("together", TOGETHER)):
        out = target(tmp_path, name)
        config = dataclasses.replace(config, reframe=0.5, joint_steps=2, mixture_steps=0)
        found.append((out, train(out, config, cells=4)))
    assert_trained_alike(*found)


def assert_trained_alike(
    first: tuple[ShardTarget, dict[str, Any]], second: tuple[ShardTarget, dict[str, Any]]
) -> None:
    (alone, expected), (together, found) = first, second
    places = [(p["step"], p["task"], p["t_bucket"]) for p in found["curve"]]
    assert places == [(p["step"], p["task"], p["t_bucket"]) for p in expected["curve"]]
    losses = [point["loss"] for point in found["curve"]]
    assert losses == pytest.approx([point["loss"] for point in expected["curve"]], rel=1e-3)
    one, other = (
        load_file(Path(out.workspace) / row["ref"] / "model.safetensors")
        for out, row in ((alone, expected), (together, found))
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)


@contextlib.contextmanager
def other_rank_killed_at(step: int) -> Iterator[None]:
    """Kills the other of two ranks at a step, which ends the training and leaves no process."""

    def report(_self: ShardTarget, done: float, _total: float, _note: str = "") -> None:
        if done == step:
            (rank,) = multiprocessing.active_children()
            os.kill(rank.pid or 0, signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardTarget, "report", report)
        with pytest.raises(RankFailed, match=r"rank 1 ended with code -9"):
            yield
    assert multiprocessing.active_children() == []


def test_a_rank_that_is_killed_ends_the_training_which_then_goes_on_to_the_same_weights(
    undisturbed: tuple[ShardTarget, dict[str, Any]], tmp_path: Path
) -> None:
    expected_out, expected = undisturbed
    out = target(tmp_path, "killed")
    with other_rank_killed_at(3):
        train(out, TOGETHER)
    found = train(out, TOGETHER)
    assert weights(out, found) == weights(expected_out, expected)
    assert found["curve"] == expected["curve"]


def train_and_die(workspace: str, config: TrainConfig, step: int, in_save: bool) -> None:
    """Trains in a process of its own and kills it: after a step, or while its state is written."""
    PRESETS["tiny"] = tiny_sizes
    torch.set_num_threads(1)
    writing = os.fsync

    def killed(_file: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def report(_self: ShardTarget, done: float, _total: float, _note: str = "") -> None:
        if done == step and not in_save:
            killed(None)
        os.fsync = killed if done == step else writing

    ShardTarget.report = report  # type: ignore[method-assign]
    train(ShardTarget(workspace, f"{workspace}/out"), config)


def test_a_training_killed_in_a_save_and_at_a_drawn_step_ends_in_the_same_weights_and_losses(
    tmp_path: Path,
) -> None:
    kills = [(2, True), (random.randint(3, ALONE.steps - 1), False)]
    undisturbed = target(tmp_path, "undisturbed")
    expected = train(undisturbed, ALONE)
    out = target(tmp_path, "killed")
    context = multiprocessing.get_context("forkserver")
    for step, in_save in kills:
        process = context.Process(
            target=train_and_die, args=(out.workspace, ALONE, step, in_save), daemon=True
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"not killed at {step}"
    found = train(out, ALONE)
    assert weights(out, found) == weights(undisturbed, expected)
    assert found | {"train_s": 0.0} == expected | {"train_s": 0.0}  # the curve among them
    # The state of the last step alone, which `catalog gc` sweeps.
    left = list((Path(out.workspace) / "scratch" / "training").iterdir())
    assert [path.suffix for path in left] == [".pt"]


def as_torchrun(port: int, number: int) -> dict[str, str]:
    """What torchrun tells a process of two on one machine."""
    place = {"RANK": number, "WORLD_SIZE": 2, "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": 2}
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "made"}
    agent = {"TORCHELASTIC_USE_AGENT_STORE": True, "GLOO_SOCKET_IFNAME": "lo"}
    return {name: str(value) for name, value in (place | meeting | agent).items()}


def follow_torchrun(port: int) -> None:
    """Rank 1, in a process of its own."""
    os.environ.update(as_torchrun(port, 1))
    follow()


@pytest.fixture
def torchrun_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port at which torchrun's agent lets its processes meet; this one is rank 0."""
    agent = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    for name, value in as_torchrun(agent.port, 0).items():
        monkeypatch.setenv(name, value)
    yield agent.port


def followed(port: int) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=follow_torchrun, args=(port,), daemon=True)
    process.start()
    return process


def test_ranks_that_torchrun_started_train_as_those_that_rank_0_starts(
    undisturbed: tuple[ShardTarget, dict[str, Any]], tmp_path: Path, torchrun_port: int
) -> None:
    expected_out, expected = undisturbed
    other, out = followed(torchrun_port), target(tmp_path, "torchrun")
    found = train(out, TOGETHER)
    other.join()
    assert other.exitcode == 0
    assert weights(out, found) == weights(expected_out, expected)


def test_ranks_that_torchrun_started_end_where_there_is_nothing_to_train(
    torchrun_port: int,
) -> None:
    other = followed(torchrun_port)
    torchrun.announce(None)
    other.join()
    assert other.exitcode == 0


def test_a_bad_sample_of_another_rank_is_named_by_the_training(tmp_path: Path) -> None:
    out = target(tmp_path, "bad")
    item = made_item(out)
    data = TrainingData(out.workspace, item["shard_refs"], TOGETHER)
    picks = data.plan(0).picks
    bad = next(pick for pick in picks[4:] if pick not in picks[:4])
    (sample,) = data.store.read([bad])
    path = Path(out.workspace, item["shard_refs"][0])
    written = bytearray(path.read_bytes())
    written[written.index(sample["latents"].tobytes())] ^= 1
    path.write_bytes(written)
    with pytest.raises((RankFailed, SampleError), match=rf"{path.name}, item \S+: its bytes"):
        train_dataset(item, out, TOGETHER)
    assert multiprocessing.active_children() == []
