"""What moves is read alike wherever in the picture it does."""

from dataclasses import replace

import pytest
import torch

from models.cells import CellNetwork
from models.conditions import Conditions
from models.pixels import GRID, PIXELS_DIM
from models.presets import PRESETS
from models.transformer import seeded

EVERY = torch.ones(1, 9, dtype=torch.bool)


def test_a_thing_elsewhere_in_the_picture_gives_the_same_cells_elsewhere() -> None:
    torch.manual_seed(0)
    network = CellNetwork(32, 8)
    shown = torch.zeros(1, 5, 2, 32, 32)
    shown[..., 12:14, 12:14] = torch.rand(1, 5, 2, 2, 2)
    moved = shown.roll((4, 4), (-2, -1))
    maps = []
    for picture in (shown, moved):
        given = picture.flatten(2)
        padded = torch.nn.functional.pad(given, (0, 0, 1, 1)).unflatten(-1, (2, 32, 32))
        around = torch.cat([padded[:, at : at + 5] for at in range(3)], 2).flatten(0, 1)
        maps.append(network.layers[:4](around))
    # Two layers halve the grid: four cells further is one further. The edges know where they are.
    torch.testing.assert_close(maps[0][..., 1:6, 1:6], maps[1][..., 2:7, 2:7])
    assert not torch.allclose(maps[0][..., 1:6, 1:6], maps[1][..., 1:6, 1:6])


def test_a_latent_is_told_of_its_neighbours_and_of_no_others() -> None:
    network = CellNetwork(4, 8)
    pixels = torch.randn(1, 9, 32, requires_grad=True)
    network(pixels, EVERY)[0, 4].sum().backward()
    assert pixels.grad is not None
    assert pixels.grad[0].abs().sum(-1).nonzero().flatten().tolist() == [3, 4, 5]


def test_a_block_tells_a_latent_of_three_more_to_both_sides() -> None:
    network = CellNetwork(4, 8, blocks=1)
    pixels = torch.randn(1, 12, 32, requires_grad=True)
    network(pixels, torch.ones(1, 12, dtype=torch.bool))[0, 6].sum().backward()
    assert pixels.grad is not None
    assert pixels.grad[0].abs().sum(-1).nonzero().flatten().tolist() == list(range(2, 11))


def test_padding_changes_nothing_of_what_is_before_it() -> None:
    network = CellNetwork(4, 8, blocks=2)
    pixels = torch.randn(1, 9, 32)
    padded = torch.nn.functional.pad(pixels, (0, 0, 0, 3))
    mask = torch.arange(12)[None] < 9
    torch.testing.assert_close(network(padded, mask)[:, :9], network(pixels, EVERY))


def test_a_model_of_pixels_hears_of_them_and_has_a_null_for_them() -> None:
    config = replace(
        PRESETS["tiny"](), layers=1, sync_dim=PIXELS_DIM, sync_cells=GRID, cells_width=8
    )
    model = seeded(config, 0)
    assert config.aligned_dim == config.motion_dim + config.phoneme_dim + 8
    mask = torch.ones(2, 6, dtype=torch.bool)
    pixels = torch.randn(2, 6, PIXELS_DIM)
    shown = Conditions(mask=mask, sync=pixels)
    aligned = model.embedding.aligned(shown)
    assert not torch.equal(aligned[0], aligned[1])
    unseen = model.embedding.aligned(shown.dropped({"sync": torch.tensor([True, False])}))
    torch.testing.assert_close(unseen[0], aligned[0])
    torch.testing.assert_close(unseen[1, :, -8:], model.embedding.null_sync.expand(6, -1))


def test_grids_that_a_feature_cannot_hold_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"sync_dim=512 .*sync_cells=12 cells per side \(a multiple of 144\)"
    ):
        replace(PRESETS["tiny"](), sync_dim=512, sync_cells=12)
