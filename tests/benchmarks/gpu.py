"""Training and generation on a GPU: how near to its matmul peak, and how far from a plain way.

    python -m tests.benchmarks.gpu --preset vssflow_m --batch 64

Runs on a bare machine that has torch and torchaudio alone. Clips of ten seconds with all
conditions; noise in place of data, which changes no cost. The plain training is the same
transformer in float32 without TF32, uncompiled, that encodes its sound at every step (by our
learned codec's encoder: the published one's is larger). Without a GPU it says so and exits with 3;
`--device cpu --preset tiny --batch 2` only shows that it runs.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from models.conditions import Conditions
from models.flow import flow_loss, sample
from models.footprint import StepShape, flops_per_step
from models.learned_codec import LearnedCodecConfig, seeded_codec
from models.presets import PRESETS
from models.shortcut import ShortcutFlow, sample_shortcut
from models.sizes import VSSFlowConfig
from models.timeline import AUDIO_HZ, LATENT_HZ, VISUAL_FPS
from models.transformer import VSSFlow, seeded

CLIP_S = 10
STEPS, FEW_STEPS, SCALE = 25, 4, 3.0
MATMUL = 8192
NO_GPU = 3


def made_conditions(sizes: VSSFlowConfig, batch: int, device: torch.device) -> Conditions:
    """Every condition of a batch of clips, as noise."""
    latents, frames = CLIP_S * LATENT_HZ, CLIP_S * VISUAL_FPS

    def noise(*shape: int) -> Tensor | None:
        return torch.randn(batch, *shape, device=device) if shape[-1] else None

    return Conditions(
        mask=torch.ones(batch, latents, dtype=torch.bool, device=device),
        visual=noise(frames, sizes.visual_dim),
        motion=noise(latents, sizes.motion_dim),
        sync=noise(latents, sizes.sync_dim),
        lips=noise(latents, sizes.lips_dim),
        speaker=noise(sizes.speaker_dim),
        phonemes=torch.randint(0, sizes.phoneme_count, (batch, latents), device=device),
    )


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median wall seconds of some work, after two runs that warm up."""
    took = []
    for number in range(repeats + 2):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        if number > 1:
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak(device: torch.device, size: int, repeats: int) -> float:
    """Operations a second of a product of two square bfloat16 matrices."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in "ab")
    return 2 * size**3 / seconds_of(lambda: left @ right, device, repeats)


def training_step(
    sizes: VSSFlowConfig, batch: int, device: torch.device, plain: bool
) -> Callable[[], object]:
    """A training step: ours (bfloat16, compiled, latents from the shard) or the plain one."""
    model = seeded(sizes, 0).to(device)
    conditions = made_conditions(sizes, batch, device)
    latents = torch.randn(batch, CLIP_S * LATENT_HZ, sizes.audio_channels, device=device)
    optimiser = torch.optim.AdamW(model.parameters(), fused=device.type == "cuda" and not plain)
    generator = torch.Generator().manual_seed(0)
    codec, sound = None, torch.zeros(0)
    if plain:
        codec = seeded_codec(LearnedCodecConfig(channels=sizes.audio_channels), 0).to(device)
        sound = torch.randn(batch, CLIP_S * AUDIO_HZ, device=device)
    else:
        model.compile(dynamic=False)

    def step() -> None:
        data = latents
        if codec is not None:
            with torch.no_grad():
                data = codec.encode(sound)[:, : latents.shape[1]]
        with torch.autocast(device.type, torch.bfloat16, enabled=not plain):
            loss = flow_loss(model, data, conditions, generator=generator).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def measure_training(
    sizes: VSSFlowConfig, batch: int, device: torch.device, peak: float, repeats: int
) -> None:
    """Prints both trainings, interleaved by turns, and their ratio."""
    shape = StepShape(batch, CLIP_S * LATENT_HZ, CLIP_S * VISUAL_FPS)
    own_s = seconds_of(training_step(sizes, batch, device, plain=False), device, repeats)
    plain_s = seconds_of(training_step(sizes, batch, device, plain=True), device, repeats)
    rate = flops_per_step(sizes, shape) / own_s
    print(
        f"training, batch {batch}: {1000 * own_s:.0f} ms a step, {batch / own_s:.1f} clips/s, "
        f"{rate / 1e12:.1f} TFLOP/s, {rate / peak:.1%} of the matmul peak (bar 45 %)"
    )
    print(
        f"plain: {1000 * plain_s:.0f} ms a step, {batch / plain_s:.1f} clips/s; "
        f"ours is {plain_s / own_s:.1f}x (bar 8)"
    )


def measure_generation(model: VSSFlow, batch: int, device: torch.device, repeats: int) -> None:
    """Prints the rate of guided generation, its latency for one clip, and the few-step mode's."""
    student = ShortcutFlow(model).to(device).eval()

    def guided(clips: Conditions) -> Tensor:
        seed = torch.Generator().manual_seed(0)
        return sample(
            model, clips, steps=STEPS, guidance=SCALE, generator=seed, precision=torch.bfloat16
        )

    def few(clips: Conditions) -> Tensor:
        seed = torch.Generator().manual_seed(0)
        with torch.autocast(device.type, torch.bfloat16):
            return sample_shortcut(student, clips, steps=FEW_STEPS, generator=seed)

    many, one = (made_conditions(model.config, size, device) for size in (batch, 1))
    with torch.inference_mode():
        many_s = seconds_of(lambda: guided(many), device, repeats)
        one_s = seconds_of(lambda: guided(one), device, repeats)
        few_s = seconds_of(lambda: few(many), device, repeats)
    print(
        f"generation, {STEPS} steps with guidance: {batch / many_s:.1f} clips/s (bar 20), "
        f"one clip {one_s:.3f} s (bar 0.15); {FEW_STEPS} steps: {batch / few_s:.1f} clips/s, "
        f"{many_s / few_s:.1f}x (bar 5)"
    )


def main() -> int:
    """Measures what the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="vssflow_m")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: the GPU's bars wait for one")
        return NO_GPU
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    named = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    sizes = PRESETS[options.preset]()
    peak = matmul_peak(device, MATMUL if device.type == "cuda" else 512, options.repeats)
    model = seeded(sizes, 0).to(device).eval()
    print(f"{named}, torch {torch.__version__}: matmul peak {peak / 1e12:.1f} TFLOP/s in bfloat16")
    print(f"{options.preset}: {model.trainable_parameters():,} parameters, clips of {CLIP_S} s")
    measure_training(sizes, options.batch, device, peak, options.repeats)
    measure_generation(model, options.batch, device, options.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
