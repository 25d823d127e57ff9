"""Generation on the CPU: our sampler beside a naive one, the few-step student, and dopri5's cost.

    .venv/bin/python -m tests.benchmarks.sampling --preset tiny

One clip of ten seconds, the transformer only, on one thread as `talkies sonify` runs it. The naive
sampler is ours without its two savings: two forward passes a step, the conditions computed in each.
Rounds are interleaved, so that what else the machine does meets every contender; a contender's
figure is the least CPU time of its rounds. Weights are random unless --checkpoint names a folder:
that does not change what a step costs, but dopri5's evaluations mean something for a trained model
only. The student's weights are its teacher's: its time is real, its sound is not.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from models.conditions import Conditions
from models.flow import draw_noise, sample
from models.guidance import Guidance, guided_field
from models.presets import PRESETS
from models.shortcut import ShortcutFlow, sample_shortcut
from models.solvers import Field, dopri5, euler
from models.timeline import LATENT_HZ, VISUAL_FPS
from models.transformer import VSSFlow, VSSFlowConfig, seeded
from tasks.checkpoint import load_checkpoint
from tests.benchmarks.decode import load

CLIP_S = 10
STEPS = 25
SCALE = 3.0
TOLERANCES = (1e-2, 1e-3, 1e-5)


def made_conditions(sizes: VSSFlowConfig) -> Conditions:
    """What a ten-second clip of a talking person brings; the features are noise."""
    generator = torch.Generator().manual_seed(0)
    latents, frames = CLIP_S * LATENT_HZ, CLIP_S * VISUAL_FPS
    return Conditions(
        mask=torch.ones(1, latents, dtype=torch.bool),
        visual=torch.randn(1, frames, sizes.visual_dim, generator=generator),
        motion=torch.randn(1, latents, sizes.motion_dim, generator=generator),
        phonemes=torch.randint(0, sizes.phoneme_count, (1, latents), generator=generator),
    )


def lively(model: VSSFlow) -> VSSFlow:
    """The model with its zero weights filled, so that no contender multiplies by zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.any():
                weight.copy_(0.02 * torch.randn(weight.shape, generator=generator))
    return model.eval()


def seed() -> torch.Generator:
    """The generator that every contender begins with."""
    return torch.Generator().manual_seed(0)


def naive_field(model: VSSFlow, conditions: Conditions) -> Field:
    """The guided velocity by two forward passes that begin at the conditions."""

    def field(x: Tensor, t: float) -> Tensor:
        times, null = torch.full((len(x),), t), conditions.null()
        unguided = model(x, times, null)
        return unguided + SCALE * (model(x, times, conditions) - unguided)

    return field


@torch.no_grad()
def naive(model: VSSFlow, conditions: Conditions) -> Tensor:
    """Latents by Euler's steps along the naive field."""
    return euler(naive_field(model, conditions), draw_noise(model, conditions, seed()), STEPS)


@torch.no_grad()
def published(model: VSSFlow, conditions: Conditions) -> Tensor:
    """Latents by dopri5 along the naive field, as the paper's code samples (our own dopri5)."""
    noise = draw_noise(model, conditions, seed())
    return dopri5(naive_field(model, conditions), noise, rtol=1e-5, atol=1e-5).x


def race(contenders: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """The least CPU seconds of each contender over interleaved rounds, after one that warms up."""
    best = dict.fromkeys(contenders, float("inf"))
    for number in range(rounds + 1):
        for name, run in contenders.items():
            began = time.process_time()
            run()
            if number:
                best[name] = min(best[name], time.process_time() - began)
    return best


def main() -> None:
    """Runs the contenders and prints their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--checkpoint", type=Path, help="folder of a trained model")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.checkpoint:
        model = load_checkpoint(options.checkpoint).model
    else:
        model = lively(seeded(PRESETS[options.preset](), 0))
    given, student = made_conditions(model.config), ShortcutFlow(model)
    apart = Guidance(SCALE, SCALE / 2)
    contenders: dict[str, Callable[[], Tensor]] = {
        "naive": lambda: naive(model, given),
        "naive, dopri5 at 1e-5": lambda: published(model, given),
        "ours": lambda: sample(model, given, steps=STEPS, guidance=SCALE, generator=seed()),
        "ours, bfloat16": lambda: sample(
            model,
            given,
            steps=STEPS,
            guidance=SCALE,
            generator=seed(),
            precision=torch.bfloat16,
        ),
        "ours, scales apart (three parts)": lambda: sample(
            model, given, steps=STEPS, guidance=apart, generator=seed()
        ),
        "student, 8 steps": lambda: sample_shortcut(student, given, steps=8, generator=seed()),
        "student, 4 steps": lambda: sample_shortcut(student, given, steps=4, generator=seed()),
    }
    off = (contenders["naive"]() - contenders["ours"]()).abs().max()
    print(f"{options.checkpoint or options.preset}: {model.trainable_parameters():,} parameters")
    exact, coarse = contenders["ours"](), contenders["ours, bfloat16"]()
    print(f"{load()}, one thread; naive and ours end at most {off:.1e} apart")
    print(f"in bfloat16 latents are {(coarse - exact).norm() / exact.norm():.2%} apart")
    cpu_s = race(contenders, options.rounds)
    for name, seconds in cpu_s.items():
        print(
            f"{name}: {seconds:.3f} CPU-s, rtf {seconds / CLIP_S:.4f}, "
            f"{cpu_s['naive'] / seconds:.2f}x the naive sampler"
        )
    with torch.no_grad():
        field = guided_field(model, given, Guidance(SCALE, SCALE))
        for tolerance in TOLERANCES:
            noise = draw_noise(model, given, seed())
            made = dopri5(field, noise, rtol=tolerance, atol=tolerance)
            print(
                f"dopri5 at {tolerance:g}: {made.evaluations} evaluations, {made.steps} steps, "
                f"{made.rejected} rejected"
            )


if __name__ == "__main__":
    main()
