"""What a training would cost, without training."""

import dataclasses
import time

import pytest
import torch

from models.presets import PRESETS
from models.transformer import VSSFlow
from tasks import train_cost as costs
from tasks.train_config import TrainConfig
from tasks.train_cost import matmul_rate, train_cost


@pytest.fixture(autouse=True)
def one_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "matmul_rate", lambda device, precision: 1e12)


def test_memory_is_four_bytes_a_weight_a_gradient_and_each_of_two_moments() -> None:
    cost = train_cost(TrainConfig(preset="vssflow_m", batch_size=2, crop_s=10.0, threads=1))
    assert cost.trainable_parameters == 463_565_184
    assert cost.weights_bytes == 4 * (463_565_184 + 128)
    assert cost.gradients_bytes == 4 * 463_565_184
    assert cost.optimiser_bytes == 8 * 463_565_184
    assert cost.memory_bytes == 16 * 463_565_184 + 4 * 128 + cost.activations_bytes


def test_a_batch_twice_as_large_keeps_twice_as_much_and_needs_about_twice_the_operations() -> None:
    one, two = (
        train_cost(TrainConfig(preset="vssflow_m", batch_size=size, threads=1)) for size in (4, 8)
    )
    assert two.activations_bytes == 2 * one.activations_bytes
    assert 1.9 < two.flops_per_step / one.flops_per_step <= 2
    assert two.weights_bytes == one.weights_bytes


def test_bfloat16_halves_what_is_kept_and_accumulating_divides_it() -> None:
    plain = TrainConfig(preset="vssflow_m", batch_size=8, threads=1)
    whole, rounded, parts = (
        train_cost(dataclasses.replace(plain, **changes))
        for changes in ({}, {"precision": "bfloat16"}, {"accumulate": 4, "ema": 0.99})
    )
    assert rounded.activations_bytes == whole.activations_bytes / 2
    assert rounded.copies_bytes == whole.weights_bytes / 2
    assert parts.activations_bytes == whole.activations_bytes / 4
    assert parts.copies_bytes == whole.weights_bytes and whole.copies_bytes == 0
    assert parts.flops_per_step == whole.flops_per_step


def test_ranks_that_share_a_model_divide_all_but_what_they_gather_and_what_passes_through() -> None:
    plain = TrainConfig(preset="vssflow_m", batch_size=8, ema=0.99, ranks=4, threads=1)
    each, shared, rounded = (
        train_cost(dataclasses.replace(plain, **changes))
        for changes in ({}, {"sharding": "full"}, {"sharding": "full", "precision": "bfloat16"})
    )
    for name in ("weights_bytes", "gradients_bytes", "optimiser_bytes", "copies_bytes"):
        assert getattr(shared, name) == getattr(each, name) / 4
    assert (each.gathered_bytes, shared.activations_bytes) == (0, each.activations_bytes)
    # Four products for self-attention, two for cross-attention, and SwiGLU's with their biases;
    # keys and values apart. Outside are the time, both ends, the conditions and the norms.
    width, inner = 1536, 6144
    layer = 6 * width**2 + 3 * width * inner + 2 * inner + width
    key_value = 768 * width  # for 12 of 24 heads, twice
    outside = 463_565_184 + 128 - 10 * (layer + key_value)
    assert shared.gathered_bytes == 4 * 2 * (outside + 2 * layer)
    assert rounded.gathered_bytes == 4 * 2 * outside + 2 * 2 * 2 * layer
    assert rounded.copies_bytes == shared.copies_bytes + 2 * outside
    assert rounded.memory_bytes < shared.memory_bytes < each.memory_bytes


def test_the_forecast_is_the_operations_at_the_measured_rate() -> None:
    cost = train_cost(TrainConfig(joint_steps=30, mixture_steps=10, threads=1))
    assert cost.forecast_step_s == cost.flops_per_step / 1e12
    assert cost.forecast_s == pytest.approx(40 * cost.forecast_step_s)


def test_the_network_for_few_steps_costs_its_steps_and_what_shows_it_the_way() -> None:
    plain = TrainConfig(joint_steps=30, mixture_steps=10, threads=1)
    without = train_cost(plain)
    guided, unguided = (
        train_cost(dataclasses.replace(plain, few_steps=20, few_steps_guidance=scale))
        for scale in (3.0, 1.0)
    )
    assert guided.steps == without.steps == 40
    more_s = 20 * guided.flops_per_few_step / 1e12
    assert guided.forecast_s == pytest.approx(without.forecast_s + more_s)
    # A backward pass is about two forward ones; half of the batches ask the teacher for two.
    for cost, passes in ((guided, 3), (unguided, 2)):
        assert cost.flops_per_few_step / cost.flops_per_step == pytest.approx(
            1 + passes / 3, rel=0.03
        )


def test_no_weight_is_made_for_the_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.device] = []
    build = VSSFlow.__init__

    def noted(self: VSSFlow, config: object) -> None:
        build(self, config)  # type: ignore[arg-type]
        made.append(self.fourier.device)

    monkeypatch.setattr(VSSFlow, "__init__", noted)
    train_cost(TrainConfig(preset="vssflow_l", threads=1))
    assert made == [torch.device("meta")]
    assert PRESETS["vssflow_l"]().layers == 15


def test_the_rate_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(costs.SIDE, "cpu", 64)
    ticks = iter([0.0, 9.0, 10.0, 10.2, 20.0, 20.1, 30.0, 30.4])  # start, end of each product
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    rate = matmul_rate(torch.device("cpu"), measure_s=15.0)
    assert rate == pytest.approx(2 * 64**3 / 0.1)
