"""`talkies train --dry-run`: what a training would cost, without a dataset and without training."""

from dataclasses import asdict

from flows import console
from flows.session import Job
from tasks.train_cost import TrainCost, train_cost

NOTE = (
    "a forecast, not a measurement of training, and a lower bound: the matrix products alone, "
    "at the rate of one large product on this device"
)
GIGABYTE = 1e9


def show_cost(job: Job, as_json: bool) -> None:
    """Prints the cost of the training that a job asks for."""
    cost = train_cost(job.load().configs["train"])
    if as_json:
        derived = ("memory_bytes", "forecast_step_s", "forecast_s")
        told = {name: getattr(cost, name) for name in derived}
        console.say_json(asdict(cost) | told | {"forecast_is": NOTE})
    else:
        console.say_lines(_lines(cost))


def _lines(cost: TrainCost) -> list[str]:
    frozen = f"{cost.frozen_parameters:,} frozen"
    parts = {
        "weights": cost.weights_bytes,
        "gradients": cost.gradients_bytes,
        "optimiser": cost.optimiser_bytes,
        "copies": cost.copies_bytes,
        "gathered": cost.gathered_bytes,
        "activations": cost.activations_bytes,
    }
    then = f" and {cost.few_steps:,} few_steps" if cost.few_steps else ""
    memory = ", ".join(f"{name} {size / GIGABYTE:.2f}" for name, size in parts.items())
    return [
        f"{cost.preset}: {cost.trainable_parameters:,} trainable parameters, {frozen}",
        f"batch: {cost.batch_size} clips of {cost.crop_s:g} s, {cost.precision}",
        f"memory: {cost.memory_bytes / GIGABYTE:.2f} GB ({memory})",
        f"operations: {cost.flops_per_step / 1e12:.4g} TFLOP a step, forward and backward",
        f"device: {cost.device}, {cost.matmul_flops_per_s / 1e12:.3g} TFLOP/s measured",
        f"forecast: {cost.forecast_step_s:.3g} s a step, "
        f"{cost.forecast_s / 3600:.3g} h for {cost.steps:,} steps{then} ({NOTE})",
    ]
