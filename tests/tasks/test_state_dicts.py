"""Weights by path: what is missing is named, and nothing but tensors is read."""

import argparse
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tasks.clip_encoders import load_lip_encoder, load_sync_encoder, synchformer_file
from tasks.faces import FacesConfig
from tasks.look import LookConfig
from tasks.state_dicts import StateFile
from tasks.weights import MissingWeight

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def file(path: Path | str) -> StateFile:
    return StateFile(str(path), "look.made_weights", "the made network", "made.pth", "made.org")


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[k], STATE[k]) for k in STATE)


def test_tensors_are_read_from_safetensors_and_from_pickles_of_tensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "made.safetensors")
    torch.save(STATE, tmp_path / "plain.pth")
    torch.save({"state_dict": STATE, "epoch": 3}, tmp_path / "inside.pt")
    names = ("made.safetensors", "plain.pth", "inside.pt")
    assert all(same(file(tmp_path / name).load()) for name in names)
    assert len({file(tmp_path / name).fingerprint() for name in names}) == 3


@pytest.mark.parametrize("ask", [StateFile.load, StateFile.fingerprint])
def test_a_missing_file_is_named_with_what_is_expected_and_where_it_was_looked_for(
    tmp_path: Path, ask: object
) -> None:
    assert callable(ask)
    where = tmp_path / "no" / "made.pth"
    with pytest.raises(
        MissingWeight, match=r"expected made\.pth of made\.org, looked for at "
    ) as e:
        ask(file(where))
    assert f"{where}: no such file" in str(e.value)
    with pytest.raises(MissingWeight, match=r"expected made\.pth .* look\.made_weights names no"):
        ask(file(""))


def test_a_pickle_of_more_is_refused_and_the_error_says_how_to_convert_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.pt"
    torch.save({"args": argparse.Namespace(lr=1), "model": STATE}, path)
    with pytest.raises(ValueError, match="pickle of more than tensors") as refused:
        file(path).load()
    found = re.search(r'python -c "(.+)" large.pt large.safetensors', str(refused.value))
    assert found is not None
    converted = tmp_path / "large.safetensors"
    monkeypatch.setattr(sys, "argv", ["-c", str(path), str(converted)])
    exec(found[1], {})
    assert same(file(converted).load())


@pytest.mark.parametrize("name", ["made.pth", "made.safetensors"])
def test_what_holds_no_weights_is_refused_by_its_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"not weights at all")
    with pytest.raises(ValueError, match=rf"look\.made_weights='.*{name}'"):
        file(path).load()
    # Nobody is told to unpickle what is no pickle.
    page = tmp_path / "page.pt"
    page.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.pt' is no checkpoint of torch, but perhaps a web"):
        file(page).load()
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match=r"empty\.pt' holds no tensors; name made\.pth"):
        file(tmp_path / "empty.pt").load()


def test_weights_of_another_network_are_refused_by_their_path(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "other.pth")
    other = str(tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"look\.sync_weights='.*other\.pth': not the weights"):
        load_sync_encoder(other)
    with pytest.raises(ValueError, match=r"faces\.lips_weights='.*other\.pth': not the weights"):
        load_lip_encoder(other)


def test_published_weights_that_are_not_named_are_named_by_the_error() -> None:
    with pytest.raises(MissingWeight, match=r"synchformer_state_dict\.pth .*look\.sync_weights"):
        synchformer_file("").fingerprint()
    with pytest.raises(MissingWeight, match=r"self_large_vox_433h\.pt .*faces\.lips_weights"):
        load_lip_encoder("")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_here_is_said_by_its_setting() -> None:
    with pytest.raises(ValueError, match=r"look\.sync_device='cuda': torch finds no GPU"):
        load_sync_encoder("", "cuda")


def test_weights_without_their_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match=r"look\.sync='none'.*set look\.sync: synchformer"):
        LookConfig(sync_weights="a.pth")
    with pytest.raises(ValueError, match=r"lips='mouth_track'.*set faces\.lips: av_hubert"):
        FacesConfig(lips="mouth_track", lips_weights="a.pt")
