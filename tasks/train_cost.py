"""What a training would cost: parameters, memory, operations and a forecast of its time."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.timeline import LATENT_HZ, VISUAL_FPS, count
from tasks.train_config import TrainConfig

if TYPE_CHECKING:
    import torch

NUMBER_BYTES = 4  # training is in float32
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
        weights_bytes: memory of the model.
        gradients_bytes: memory of the gradients.
        optimiser_bytes: memory of AdamW's two moments.
        activations_bytes: what the forward pass of a batch keeps for the backward pass.
        flops_per_step: operations of the matrix products, forward and backward.
        device: what was measured and would train.
        matmul_flops_per_s: measured rate of one large float32 product on it.
        steps: steps of the training.
    """

    preset: str
    trainable_parameters: int
    frozen_parameters: int
    batch_size: int
    crop_s: float
    weights_bytes: int
    gradients_bytes: int
    optimiser_bytes: int
    activations_bytes: int
    flops_per_step: int
    device: str
    matmul_flops_per_s: float
    steps: int

    @property
    def memory_bytes(self) -> int:
        """All of the memory that was counted; the framework's own comes on top."""
        kept = self.weights_bytes + self.gradients_bytes + self.optimiser_bytes
        return kept + self.activations_bytes

    @property
    def forecast_step_s(self) -> float:
        """Seconds of a step whose matrix products ran at the measured rate, and nothing else."""
        return self.flops_per_step / self.matmul_flops_per_s

    @property
    def forecast_s(self) -> float:
        """Seconds of the whole training at that rate."""
        return self.steps * self.forecast_step_s


def train_cost(config: TrainConfig) -> TrainCost:
    """The cost of a training, at the preset's own channels; nothing is trained, no data is read."""
    import torch

    from models.footprint import StepShape, activation_numbers, flops_per_step
    from models.presets import PRESETS
    from models.transformer import VSSFlow

    sizes = PRESETS[config.preset]()
    with torch.device("meta"):
        model = VSSFlow(sizes)
    trainable = model.trainable_parameters()
    everything = sum(weight.numel() for weight in model.parameters())
    shape = StepShape(
        config.batch_size, count(config.crop_s, LATENT_HZ), count(config.crop_s, VISUAL_FPS)
    )
    torch.set_num_threads(config.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TrainCost(
        preset=config.preset,
        trainable_parameters=trainable,
        frozen_parameters=everything - trainable,
        batch_size=config.batch_size,
        crop_s=config.crop_s,
        weights_bytes=NUMBER_BYTES * everything,
        gradients_bytes=NUMBER_BYTES * trainable,
        optimiser_bytes=NUMBER_BYTES * ADAM_MOMENTS * trainable,
        activations_bytes=NUMBER_BYTES * activation_numbers(sizes, shape),
        flops_per_step=flops_per_step(sizes, shape),
        device=_name(device, config.threads),
        matmul_flops_per_s=matmul_rate(device),
        steps=config.steps,
    )


def matmul_rate(device: "torch.device", measure_s: float = MEASURE_S) -> float:
    """Operations a second of the fastest of a few large float32 products on a device."""
    import torch

    side = SIDE[device.type]
    left = torch.randn(side, side, device=device)
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


def _name(device: "torch.device", threads: int) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {threads} threads"
