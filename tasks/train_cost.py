"""What a training would cost: parameters, memory, operations and a forecast of its time."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.timeline import LATENT_HZ, VISUAL_FPS, count
from tasks.train_config import TrainConfig
from tasks.train_device import Rank, device_of, name_of

if TYPE_CHECKING:
    import torch

    from models.footprint import StepShape
    from models.sizes import VSSFlowConfig
    from models.transformer import VSSFlow

NUMBER_BYTES = 4  # weights, gradients and moments are in float32
PRODUCT_BYTES = {"float32": 4, "bfloat16": 2}
ADAM_MOMENTS = 2
SIDE = {"cpu": 1024, "cuda": 8192}
"""Side of the square product that is measured: large enough to reach the device's rate."""
MEASURE_S = 0.3


@dataclass(frozen=True, slots=True)
class TrainCost:
    """What a training would cost, counted but for the measured rate.

    Attributes:
        preset: size of the model.
        trainable_parameters: numbers that training changes.
        frozen_parameters: numbers of the model that it does not.
        batch_size: clips in a batch.
        crop_s: length of each, in seconds.
        weights_bytes: memory of the model, or of a rank's share of it.
        gradients_bytes: memory of the gradients, or of a rank's share of them.
        optimiser_bytes: memory of AdamW's two moments, or of a rank's share of them.
        copies_bytes: the averaged weights, or a rank's share of them, and the weights as rounded
            for the products.
        gathered_bytes: of a model that is shared out, what is whole for a while: weights and
            gradients of two layers, as they compute, and of all that is outside of the layers.
        activations_bytes: what the forward pass of a part of the batch keeps for the backward pass.
        flops_per_step: operations of a rank's matrix products, forward and backward.
        device: what was measured and would train.
        precision: of the products.
        matmul_flops_per_s: measured rate of one large product of that precision on it.
        steps: steps of the model's training.
        few_steps: steps after them that train the network for few steps, on one process; what
            memory they take is not counted.
        flops_per_few_step: operations of one of those, as `few_step_flops`.
    """

    preset: str
    trainable_parameters: int
    frozen_parameters: int
    batch_size: int
    crop_s: float
    weights_bytes: int
    gradients_bytes: int
    optimiser_bytes: int
    copies_bytes: int
    gathered_bytes: int
    activations_bytes: int
    flops_per_step: int
    device: str
    precision: str
    matmul_flops_per_s: float
    steps: int
    few_steps: int
    flops_per_few_step: int

    @property
    def memory_bytes(self) -> int:
        """All of the memory that was counted; the framework's own comes on top."""
        kept = self.weights_bytes + self.gradients_bytes + self.optimiser_bytes
        return kept + self.copies_bytes + self.gathered_bytes + self.activations_bytes

    @property
    def forecast_step_s(self) -> float:
        """Seconds of a step whose matrix products ran at the measured rate, and nothing else."""
        return self.flops_per_step / self.matmul_flops_per_s

    @property
    def forecast_s(self) -> float:
        """Seconds of the whole training at that rate, the network for few steps with it."""
        few_step_s = self.flops_per_few_step / self.matmul_flops_per_s
        return self.steps * self.forecast_step_s + self.few_steps * few_step_s


def train_cost(config: TrainConfig) -> TrainCost:
    """The cost of a training for each rank, at the preset's own channels.

    Nothing is trained, no data is read. Raises ValueError as `device_of`.
    """
    import torch

    from models.footprint import StepShape, activation_numbers, flops_per_step
    from models.presets import PRESETS
    from models.transformer import VSSFlow

    sizes = PRESETS[config.preset]()
    with torch.device("meta"):
        model = VSSFlow(sizes)
    trainable = model.trainable_parameters()
    everything = sum(weight.numel() for weight in model.parameters())
    latents, frames = count(config.crop_s, LATENT_HZ), count(config.crop_s, VISUAL_FPS)
    whole = StepShape(config.batch_size, latents, frames)
    part = StepShape(config.batch_size // config.parts, latents, frames)
    torch.set_num_threads(config.threads)
    device = device_of(config, Rank())
    return TrainCost(
        preset=config.preset,
        trainable_parameters=trainable,
        frozen_parameters=everything - trainable,
        batch_size=config.batch_size,
        crop_s=config.crop_s,
        **_bytes_of_weights(config, model),
        activations_bytes=PRODUCT_BYTES[config.precision]
        * activation_numbers(sizes, part, fused=device.type == "cuda"),
        flops_per_step=flops_per_step(sizes, whole) // config.ranks,
        device=name_of(device, config.threads),
        precision=config.precision,
        matmul_flops_per_s=matmul_rate(device, config.precision),
        steps=config.steps,
        few_steps=config.few_steps,
        flops_per_few_step=few_step_flops(sizes, whole, config.few_steps_guidance),
    )


def _bytes_of_weights(config: TrainConfig, model: "VSSFlow") -> dict[str, int]:
    """What a rank keeps of weights and of what is as large as they are, as `TrainCost` names it."""
    everything = sum(weight.numel() for weight in model.parameters())
    trainable, holders = model.trainable_parameters(), 1
    product_bytes = PRODUCT_BYTES[config.precision]
    to_round, gathered_bytes = everything, 0
    if config.is_sharded:
        from models.sharding import gathered_numbers

        # A layer's weights arrive rounded and go; autocast keeps copies of the others alone.
        to_round, of_layer = gathered_numbers(model)
        gathered_bytes = 2 * (NUMBER_BYTES * to_round + 2 * product_bytes * of_layer)
        holders = config.ranks
    own, own_trainable = math.ceil(everything / holders), math.ceil(trainable / holders)
    rounded = to_round * product_bytes if product_bytes < NUMBER_BYTES else 0
    return {
        "weights_bytes": NUMBER_BYTES * own,
        "gradients_bytes": NUMBER_BYTES * own_trainable,
        "optimiser_bytes": NUMBER_BYTES * ADAM_MOMENTS * own_trainable,
        "copies_bytes": NUMBER_BYTES * own * bool(config.ema) + rounded,
        "gathered_bytes": gathered_bytes,
    }


def few_step_flops(sizes: "VSSFlowConfig", shape: "StepShape", guidance: float) -> int:
    """Operations of a step that trains the network for few steps, on average.

    Beside its own forward and backward pass there are, in the share of batches that the teacher
    shows, two passes of the teacher, each of all guided halves, and two of the slow student in the
    others.
    """
    from models.footprint import flops_of_forward, flops_per_step
    from models.guidance import Guidance
    from models.shortcut import ShortcutConfig

    halves = sum(weight != 0 for weight in Guidance(guidance, guidance).weights)
    taught = ShortcutConfig().teacher_share
    passes = 2 * (taught * halves + 1 - taught)
    return flops_per_step(sizes, shape) + round(passes * flops_of_forward(sizes, shape))


def matmul_rate(
    device: "torch.device", precision: str = "float32", measure_s: float = MEASURE_S
) -> float:
    """Operations a second of the fastest of a few large products on a device."""
    import torch

    side = SIDE[device.type]
    left = torch.randn(side, side, device=device, dtype=getattr(torch, precision))
    out = torch.empty_like(left)
    fastest_s, until = float("inf"), 0.0
    for turn in range(1000):
        started = time.perf_counter()
        torch.mm(left, left, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        ended = time.perf_counter()
        if turn == 0:  # loads the library
            until = ended + measure_s
            continue
        fastest_s = min(fastest_s, ended - started)
        if ended > until:
            break
    return 2 * side**3 / fastest_s
