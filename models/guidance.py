"""Guidance: how strongly generation follows its conditions, sound and speech apart.

Legend: B batch, N latents, C channels.

Source: arXiv 2207.12598 (classifier-free guidance) and, for two conditions with scales of their
own, InstructPix2Pix, arXiv 2211.09800, section 3.2. There p(x | sight, speech) is proportional to
p(x) p(sight | x) p(speech | sight, x), each of the last two raised to its own scale, which gives

    v = v_none + sound (v_sight - v_none) + speech (v_all - v_sight)

with v_sight the velocity under what is seen and moves, without phonemes, speaker and lips. Equal
scales are plain guidance by one scale.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.conditions import NAMES, Conditions
from models.transformer import VSSFlow

SPEECH = tuple(name for name in NAMES if name in ("phonemes", "speaker", "lips"))
"""The conditions that the speech scale strengthens; the sound scale has the others."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """Scales of guidance; 1 follows the conditions as the model learned them, 0 ignores them."""

    sound: float = 3.0
    """Of what is seen and moves."""
    speech: float = 3.0
    """Of what is said, by whom and by which lips, given what else is seen."""

    @property
    def weights(self) -> tuple[float, float, float]:
        """Shares of v_all, v_sight and v_none in the guided velocity; they sum to 1."""
        return self.speech, self.sound - self.speech, 1 - self.sound


def guided_field(
    model: VSSFlow, conditions: Conditions, guidance: Guidance
) -> Callable[[Tensor, Tensor | float], Tensor]:
    """The guided velocity as a function of latents (B, N, C) and t, one or (B,).

    The conditions are prepared here, once. All parts of the velocity are one batch, and a part
    without a share is not computed: v_none at a sound scale of 1, v_sight at equal scales.
    Velocities have the latents' type, whatever the model computes in.
    """
    batch = conditions.batch
    nobody = conditions.mask.new_zeros(batch)
    parts = [
        (weight, part)
        for weight, part in zip(
            guidance.weights,
            (conditions, conditions.dropped(dict.fromkeys(SPEECH, nobody)), conditions.null()),
            strict=True,
        )
        if weight
    ]
    weights = [weight for weight, _ in parts]
    context = model.prepare(Conditions.cat([part for _, part in parts]))

    def field(x: Tensor, t: Tensor | float) -> Tensor:
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(batch)
        copies = len(weights)
        velocity = model.velocity(
            x.repeat(copies, *[1] * (x.ndim - 1)), times.repeat(copies), context
        )
        velocities = velocity.to(x.dtype).chunk(copies)
        if copies == 1:
            return velocities[0]
        if copies == 2:
            return torch.lerp(velocities[1], velocities[0], weights[0])
        first, second, third = velocities
        return weights[0] * first + weights[1] * second + weights[2] * third

    return field
