"""Synchformer's visual branch: its attention against masks, its segments against the clock."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.synchformer import build_synchformer, segment_starts, stretched
from tests.made_networks import MOMENTS, PATCH, PIXELS, SYNC_WIDTH, published_synchformer

PLACES = (PIXELS // PATCH) ** 2


def frames_of(count: int, pixels: int = PIXELS) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (count, 3, pixels, pixels)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def normed(p: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], 1e-6)


def linear(p: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def attended(weights: tuple[Tensor, ...], x: Tensor, may_read: Tensor | None) -> Tensor:
    """What torch's attention of two heads of 64 gives, where `may_read` (reader, read)."""
    attention = nn.MultiheadAttention(SYNC_WIDTH, SYNC_WIDTH // 64, batch_first=True)
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    attention.load_state_dict(dict(zip(names, weights, strict=True)))
    mask = None if may_read is None else ~may_read
    return attention(x, x, x, attn_mask=mask, need_weights=False)[0]


def divided(p: dict[str, Tensor], name: str, x: Tensor, same: Tensor) -> Tensor:
    """Attention to the first token and to those that share a group; the first reads everything."""
    may_read = same[:, None] == same[None]
    may_read[0] = may_read[:, 0] = True
    parts = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias")
    return attended(tuple(p[f"{name}.{part}"] for part in parts), x, may_read)


def reference(p: dict[str, Tensor], video: Tensor) -> Tensor:
    """The branch (B, T, D) by published names, every attention over all tokens under a mask."""
    kernel = p["patch_embed_3d.proj.weight"]
    x = F.conv3d(video, kernel, p["patch_embed_3d.proj.bias"], stride=kernel.shape[2:])
    x = x.flatten(2).transpose(1, 2)
    place = torch.arange(PLACES).repeat(MOMENTS)
    moment = torch.arange(MOMENTS).repeat_interleave(PLACES)
    x = x + p["pos_embed"][:, 1:][:, place] + p["temp_embed"][:, moment]
    first = (p["cls_token"] + p["pos_embed"][:, :1]).expand(len(x), -1, -1)
    x = torch.cat([first, x], 1)
    place, moment = (F.pad(groups, (1, 0), value=-1) for groups in (place, moment))
    for block in ("blocks.0", "blocks.1"):
        x = x + divided(p, f"{block}.timeattn", normed(p, f"{block}.norm3", x), place)
        x = x + divided(p, f"{block}.attn", normed(p, f"{block}.norm1", x), moment)
        inner = F.gelu(linear(p, f"{block}.mlp.fc1", normed(p, f"{block}.norm2", x)))
        x = x + linear(p, f"{block}.mlp.fc2", inner)
    x = normed(p, "norm", x[:, 1:]).unflatten(1, (MOMENTS, PLACES)).flatten(0, 1)
    pool = "spatial_attn_agg"
    x = torch.cat([p[f"{pool}.cls_token"].expand(len(x), -1, -1), x], 1)
    parts = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    weights = tuple(p[f"{pool}.self_attn.{part}"] for part in parts)
    x = x + attended(weights, normed(p, f"{pool}.norm1", x), None)
    inner = F.gelu(linear(p, f"{pool}.linear1", normed(p, f"{pool}.norm2", x)))
    return (x + linear(p, f"{pool}.linear2", inner))[:, 0].unflatten(0, (-1, MOMENTS))


def test_divided_attention_is_attention_to_all_tokens_under_a_mask() -> None:
    published = published_synchformer()
    video = torch.randn(2, 3, 16, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = build_synchformer(published)(video)
        expected = reference(published, video)
    assert made.shape == (2, MOMENTS, SYNC_WIDTH)
    assert torch.allclose(made, expected, atol=1e-4)
    assert expected.std() > 0.1


def test_ten_seconds_are_30_segments_whose_240_moments_are_stretched_to_250_rows() -> None:
    starts = segment_starts(250)
    assert starts == list(range(0, 240, 8))
    assert starts[-1] + 16 <= 250
    rows = stretched(torch.arange(240)[:, None], 250)[:, 0]
    assert rows.shape == (250,)
    assert rows.unique().tolist() == list(range(240))
    assert (rows.diff() >= 0).all()
    assert segment_starts(3) == [0]


def test_a_flash_is_in_the_rows_of_the_segments_that_show_it_and_in_no_other() -> None:
    model = build_synchformer(published_synchformer(layers=1))
    still = frames_of(1).expand(250, -1, -1, -1).clone()
    flash = still.clone()
    flash[100] = 255 - flash[100]
    changed = (model.embed(still) != model.embed(flash)).any(1).nonzero()[:, 0]
    # Frame 100 lies in the segments from frames 88 and 96, which are moments 88 to 103 of 240.
    assert changed.min() >= int(88 * 250 / 240) and changed.max() <= int(104 * 250 / 240)
    assert len(changed) >= 16


def test_features_do_not_depend_on_how_many_segments_go_through_at_once() -> None:
    model = build_synchformer(published_synchformer())
    frames = frames_of(50)
    alone = model.embed(frames)
    assert alone.shape == (50, SYNC_WIDTH)
    assert torch.allclose(model.embed(frames, batch_segments=3), alone, atol=1e-4)


def test_a_clip_that_is_shorter_than_a_segment_holds_its_last_frame() -> None:
    model = build_synchformer(published_synchformer(layers=1))
    frames = frames_of(5)
    held = torch.cat([frames, frames[-1:].expand(11, -1, -1, -1)])
    assert torch.equal(model.embed(frames), stretched(model.embed(held)[::2], 5))


def test_larger_frames_are_scaled_to_the_networks_size() -> None:
    model = build_synchformer(published_synchformer(layers=1))
    flat = torch.full((16, 3, PIXELS, PIXELS), 90, dtype=torch.uint8)
    larger = torch.full((16, 3, 48, 48), 90, dtype=torch.uint8)
    assert torch.allclose(model.embed(larger), model.embed(flat), atol=1e-4)


@pytest.mark.parametrize("prefix", ["vfeat_extractor.", "v_encoder.", "module.v_encoder."])
def test_the_branch_is_found_in_a_file_that_holds_more(prefix: str) -> None:
    published = published_synchformer(layers=1)
    whole = {f"{prefix}{name}": value for name, value in published.items()}
    whole |= {"afeat_extractor.cls_token": torch.zeros(1), "transformer.norm.bias": torch.zeros(1)}
    frames = frames_of(16)
    assert torch.equal(
        build_synchformer(whole).embed(frames), build_synchformer(published).embed(frames)
    )


def test_weights_of_another_network_are_refused() -> None:
    published = published_synchformer(layers=1)
    del published["blocks.0.timeattn.qkv.bias"]
    with pytest.raises(ValueError, match=r"Synchformer's visual branch.*blocks.0.over_time.qkv"):
        build_synchformer(published)
    with pytest.raises(ValueError, match="not the weights of Synchformer"):
        build_synchformer({"conv1.weight": torch.zeros(1)})
