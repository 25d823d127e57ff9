"""Generate by a checkpoint: its solver, how strongly conditions are followed, and the noise."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from storage.ids import hash_of
from tasks.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch

    from models.conditions import Conditions

SolverName = Literal["euler", "midpoint", "dopri5", "few_steps"]
FEW_STEPS = (1, 2, 4, 8, 16)
"""Steps that solver few_steps can take."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is sampled; `tasks.sonify_config.SonifyConfig` says what each setting means."""

    solver: SolverName = "euler"
    steps: int = 25
    guidance: float = 3.0
    speech_guidance: float | None = None
    tolerance: float = 1e-5
    temperature: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"


def require_steps(stage: str, solver: str, steps: int) -> None:
    """Raises ValueError, naming the stage's setting, for steps that few_steps cannot take."""
    if solver == "few_steps" and steps not in FEW_STEPS:
        raise ValueError(
            f"{stage}.steps={steps}: solver few_steps takes {', '.join(map(str, FEW_STEPS))}; "
            f"set {stage}.steps: 8"
        )


def generated_latents(
    checkpoint: Checkpoint, conditions: "Conditions", sampling: Sampling, seed: int, stage: str
) -> "torch.Tensor":
    """What a model makes of conditions: latents (B, N, C).

    Raises ValueError, naming the stage's setting, for solver few_steps and a model that was trained
    without its network.
    """
    import torch

    from models.flow import sample
    from models.guidance import Guidance
    from models.shortcut import sample_shortcut

    generator = torch.Generator().manual_seed(seed)
    precision = getattr(torch, sampling.precision)
    if sampling.solver == "few_steps":
        if checkpoint.few_steps is None:
            raise ValueError(
                f"{stage}.solver=few_steps: model {checkpoint.checkpoint_id} has no network for "
                "few steps; train one with train.few_steps, such as 400, or choose another solver"
            )
        return sample_shortcut(
            checkpoint.few_steps,
            conditions,
            steps=sampling.steps,
            generator=generator,
            temperature=sampling.temperature,
            precision=precision,
        )
    sound, speech = sampling.guidance, sampling.speech_guidance
    return sample(
        checkpoint.model,
        conditions,
        steps=sampling.steps,
        guidance=Guidance(sound=sound, speech=sound if speech is None else speech),
        generator=generator,
        solver=sampling.solver,
        tolerance=sampling.tolerance,
        temperature=sampling.temperature,
        precision=precision,
    )


def noise_seed(*parts: object) -> int:
    """The seed of the noise of what these parts, as JSON holds them, identify."""
    return int(hash_of(*parts)[:15], 16)
