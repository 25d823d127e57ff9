from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.conditions import NAMES, Conditions
from models.presets import PRESETS
from models.transformer import VSSFlow, VSSFlowConfig, seeded

SMALL = VSSFlowConfig(
    layers=2,
    width=32,
    heads=4,
    context_heads=2,
    context_width=16,
    ffn_width=48,
    audio_channels=6,
    visual_dim=10,
    motion_dim=3,
    speaker_dim=5,
)


def model(config: VSSFlowConfig = SMALL) -> VSSFlow:
    """A model whose zero-initialised layers are random too, so that every path counts."""
    made = seeded(config, 0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            if not weight.any():
                weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return made


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conditions(batch: int = 2, latents: int = 10, frames: int = 4) -> Conditions:
    return Conditions(
        mask=torch.ones(batch, latents, dtype=torch.bool),
        visual=noise(batch, frames, 10, seed=1),
        motion=noise(batch, latents, 3, seed=2),
        phonemes=torch.arange(batch * latents).reshape(batch, latents) % 20,
        speaker=noise(batch, 5, seed=3),
    )


ALL = replace(
    SMALL,
    sync_dim=4,
    lips_dim=5,
    aligned_hidden=7,
    deep_context=True,
    full_output=True,
    velocity_offset=True,
)
"""The published structure, small."""


def all_conditions() -> Conditions:
    return replace(
        conditions(),
        sync=noise(2, 10, 4, seed=4),
        lips=noise(2, 10, 5, seed=5),
        has_sync=None,
        has_lips=None,
    )


TIMES = torch.tensor([0.3, 0.8])


@torch.no_grad()
def test_prepare_and_velocity_are_the_forward_pass() -> None:
    net, x = model(), noise(2, 10, 6)
    context = net.prepare(conditions())
    torch.testing.assert_close(net.velocity(x, TIMES, context), net(x, TIMES, conditions()))
    assert net(x, TIMES, conditions()).shape == (2, 10, 6)


@torch.no_grad()
def test_the_split_input_projection_equals_the_concatenated_one() -> None:
    net, x, given = model(), noise(2, 10, 6), conditions()
    joined = torch.cat([x, net.embedding.aligned(given)], -1)
    expected = net.project_in(joined + net.mix_in(joined))
    context = net.prepare(given)
    torch.testing.assert_close(x @ context.audio_weight.T + context.aligned, expected)


@torch.no_grad()
def test_padding_does_not_change_valid_outputs() -> None:
    net, short = model(), conditions(batch=1)
    assert short.visual is not None and short.motion is not None and short.phonemes is not None
    x, t = noise(1, 10, 6), torch.tensor([0.4])
    plain = net(x, t, short)
    nan = float("nan")
    padded = Conditions(
        mask=torch.tensor([[True] * 10 + [False] * 3]),
        visual=torch.cat([short.visual, torch.full((1, 2, 10), nan)], 1),
        visual_mask=torch.tensor([[True] * 4 + [False] * 2]),
        motion=torch.cat([short.motion, torch.full((1, 3, 3), nan)], 1),
        phonemes=torch.cat([short.phonemes, torch.full((1, 3), 7)], 1),
        speaker=short.speaker,
    )
    longer = net(torch.cat([x, torch.full((1, 3, 6), nan)], 1), t, padded)
    torch.testing.assert_close(longer[:, :10], plain, atol=1e-5, rtol=1e-5)
    assert not longer[:, 10:].any()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_condition_absent_in_one_sample_changes_that_sample_only(name: str) -> None:
    net, x, given = model(ALL), noise(2, 10, 6), all_conditions()
    whole = net(x, TIMES, given)
    partly = net(x, TIMES, given.dropped({name: torch.tensor([True, False])}))
    torch.testing.assert_close(partly[0], whole[0])
    assert float((partly[1] - whole[1]).abs().max()) > 1e-3


@torch.no_grad()
def test_conditions_never_given_equal_conditions_dropped() -> None:
    net, x = model(ALL), noise(2, 10, 6)
    bare = Conditions(mask=torch.ones(2, 10, dtype=torch.bool))
    torch.testing.assert_close(net(x, TIMES, bare), net(x, TIMES, all_conditions().null()))


@torch.no_grad()
def test_a_model_without_lips_and_sync_does_not_read_them() -> None:
    net, x = model(), noise(2, 10, 6)
    assert torch.equal(net(x, TIMES, all_conditions()), net(x, TIMES, conditions()))


def test_nan_in_the_padding_of_lips_and_sync_reaches_no_weight() -> None:
    net, given = model(ALL), all_conditions()
    assert given.sync is not None and given.lips is not None
    given.mask[:, 8:] = False
    given.sync[:, 8:] = given.lips[:, 8:] = float("nan")
    net(noise(2, 10, 6), TIMES, given).square().mean().backward()
    assert all(w.grad is None or w.grad.isfinite().all() for w in net.parameters())


@torch.no_grad()
def test_silence_that_is_known_differs_from_words_that_are_not() -> None:
    net, x = model(), noise(2, 10, 6)
    silent = replace(conditions(), phonemes=torch.zeros(2, 10, dtype=torch.long))
    unknown = silent.dropped({"phonemes": torch.zeros(2, dtype=torch.bool)})
    assert not torch.allclose(net(x, TIMES, silent), net(x, TIMES, unknown))


@torch.no_grad()
@pytest.mark.parametrize(("positions", "differs"), [(True, True), (False, False)])
def test_the_order_of_frames_counts_only_with_context_positions(
    positions: bool, differs: bool
) -> None:
    net, x, given = (
        model(replace(SMALL, context_positions=positions)),
        noise(2, 10, 6),
        conditions(),
    )
    assert given.visual is not None
    turned = replace(given, visual=given.visual.flip(1))
    change = float((net(x, TIMES, turned) - net(x, TIMES, given)).abs().max())
    assert (change > 1e-3) == differs


@torch.no_grad()
def test_samples_do_not_see_each_other() -> None:
    net, x, given = model(), noise(2, 10, 6), conditions()
    other = replace(given, motion=noise(2, 10, 3, seed=9))
    assert other.motion is not None and given.motion is not None
    other.motion[0] = given.motion[0]
    torch.testing.assert_close(net(x, TIMES, other)[0], net(x, TIMES, given)[0])


def test_a_new_model_starts_as_its_input_and_output_projections() -> None:
    net = seeded(SMALL, 0)
    x = noise(2, 10, 6)
    context = net.prepare(conditions())
    expected = net.project_out(x @ context.audio_weight.T + context.aligned)
    torch.testing.assert_close(net.velocity(x, TIMES, context), expected)


def test_equal_seeds_build_equal_models_and_leave_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    one, same, other = seeded(SMALL, 0), seeded(SMALL, 0), seeded(SMALL, 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.project_in.weight, same.project_in.weight)
    assert not torch.equal(one.project_in.weight, other.project_in.weight)


def test_every_trainable_weight_learns_and_the_fourier_weights_do_not() -> None:
    net = model(ALL)
    given = Conditions.cat([all_conditions(), all_conditions().null()])
    net(noise(4, 10, 6), torch.cat([TIMES, TIMES]), given).square().mean().backward()
    still = [name for name, w in net.named_parameters() if w.grad is None or not w.grad.any()]
    assert still == ["fourier"]


def test_a_feature_of_the_wrong_width_is_refused_by_name() -> None:
    wrong = replace(conditions(), visual=noise(2, 4, 11))
    with pytest.raises(ValueError, match="visual_dim=10"):
        model().prepare(wrong)


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        replace(SMALL, width=33)
    with pytest.raises(ValueError, match="context_heads"):
        replace(SMALL, context_heads=3)


SIZES = {
    "tiny": 2_959_030,
    "mini": 6_087_734,
    "small": 24_862_902,
    "vssflow_m": 463_565_184,
    "vssflow_s": 245_215_104,
    "vssflow_l": 681_915_264,
    "vssflow_v1": 443_148_928,
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_its_number_of_parameters_and_128_frozen_ones(name: str) -> None:
    with torch.device("meta"):
        net = VSSFlow(PRESETS[name]())
    assert net.trainable_parameters() == SIZES[name]
    frozen = [weight.numel() for weight in net.parameters() if not weight.requires_grad]
    assert frozen == [128]


def test_the_published_size_has_the_published_channels() -> None:
    sizes = PRESETS["vssflow_m"]()
    assert (sizes.input_dim, sizes.output_dim) == (1952, 1952)
    assert (sizes.layers, sizes.width, sizes.head_dim, sizes.rotary_dim) == (10, 1536, 64, 32)
