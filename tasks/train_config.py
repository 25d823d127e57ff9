"""How a model is trained: the settings of a recipe's `train` section."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Phase = Literal["joint", "mixtures", "few_steps"]
Task = Literal["v2s", "visual_tts", "tts"]
Preset = Literal["tiny", "mini", "small", "vssflow_s", "vssflow_m", "vssflow_l", "vssflow_v1"]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        dataset: NAME, whose newest version is taken, or NAME@VERSION; empty takes the recipe's own.
        preset: size of the model.
        joint_steps: optimiser steps over sound with video, speech with video and speech only.
        tasks: kinds of data that the model is trained on, such as v2s alone; empty for all. How
            many mixtures there are is up to mixture_steps.
        mixture_steps: steps of the fine-tuning that follows, on mixtures and single kinds.
        mixture_share: share of mixtures in a fine-tuning batch.
        batch_size: clips in a step's batch.
        accumulate: parts that a batch is computed in, one after the other: the same result within
            rounding, in less memory.
        ranks: processes that train together, each on its part of the batch and, where there are
            GPUs, on one of its own.
        sharding: `none` keeps the model, its gradients and the optimiser's moments whole in every
            rank; `full` shares them out over the ranks and gathers a layer's weights whenever it
            computes: the same result within rounding, in less memory, with more exchanged. One
            rank has nothing to share.
        crop_s: longest span of a clip in training.
        learning_rate: of AdamW after warm-up; it falls by a cosine to a tenth at the end of
            joint training, and fine-tuning goes on from a third of it, falling the same way.
        warmup_steps: steps over which the learning rate rises from 0.
        weight_decay: of AdamW.
        clip_norm: largest norm of the gradient.
        balance: 0 draws clips as they come, 1 draws every kind of data alike; the paper has 0.
        length_buckets: lengths that a batch may be padded to, evenly spaced up to crop_s: a batch
            has the shortest that holds its clips. 1 pads all to crop_s.
        times: how a sample's time on the path is drawn; the paper has uniform. `early` draws more
            of those at which there is still much noise, where what is seen and said decides.
        channels: how much the error of a latent's channel counts: all alike, as in the paper, or
            by the standard deviation that the codec found in it, so that what is most of a sound
            is learned first. Losses of the two cannot be compared; those of `evaluate` can. The
            network for few steps counts them alike.
        dropout: `condition` drops each condition of each sample by a draw of its own, `batch` all
            conditions of a whole batch by one draw, as the paper's code does.
        padding: `masked` leaves what fills a batch up out of loss and attention, `signal` trains on
            it as on silence, as the paper's code does.
        context_positions: whether cross-attention knows when a frame was seen, which the paper's
            does not; `preset` takes the preset's own.
        ema: share of the averaged weights that a step keeps, such as 0.999; 0 averages nothing,
            as in the paper, and the last step's weights are the model.
        init_from: safetensors file whose weights the training begins with, where names and shapes
            fit: Stable Audio's transformer as diffusers names it, or a checkpoint's own. `shipped`
            takes the model that comes with talkies, whose sizes must be the same. Its codec is the
            dataset's own only with `fit_codec.file`; where they differ, a warning says so.
        device: where it trains; `auto` takes a CUDA device where there is one.
        precision: of the products; weights, their sums and the optimiser stay in float32.
        compile: whether the model is compiled by torch.compile, once for each length.
        seed: of initial weights, batches, noise and dropout.
        threads: CPU threads; part of the result, because sums depend on their order.
        log_every: steps between two points of the loss curve.
        save_every: steps between two states that a killed training goes on from.
        sample_every: steps between two samples of audio, made for one training item by its
            conditions; 0 makes none.
        uniform_phonemes: share of samples that are told their words without times, each phoneme as
            long as the others: in half of them within the time of an utterance or somewhat more, as
            a cue tells it, and in the others from end to end. Lips say then when it is said. All
            that speak are meant, seen or not: of a film whose speakers are not seen a text may be
            all there is, and is spoken at the usual pace. 0 gives every phoneme its time, as in the
            paper's first versions; 1 gives none its time, as the published code stretches all.
        reframe: share of samples whose picture is framed anew whenever they are drawn: mirrored in
            half of the cases and moved by up to an eighth of its side (`tasks.reframe`). It needs
            `look.sync: pixels`, `fine_pixels` or `colour_pixels`. 0 shows every clip as it is.
        grey: share of samples that are seen without their colour whenever they are drawn, so that
            the model knows films that have none too. It needs `look.sync: colour_pixels`.
        few_steps: optimiser steps after the others that train a second network, for generation in
            1 to 16 steps (`sonify.solver: few_steps`), by the trained model as its teacher; 0
            trains none. It is trained by one process, in the parts that the batch has, uncompiled,
            at the rate of fine-tuning, on batches like the last ones before it.
        few_steps_guidance: guidance of that teacher, which the second network has built in.
    """

    dataset: str = ""
    preset: Preset = "tiny"
    joint_steps: Annotated[int, Field(ge=1)] = 300
    tasks: tuple[Task, ...] = ()
    mixture_steps: Annotated[int, Field(ge=0)] = 60
    mixture_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    batch_size: Annotated[int, Field(ge=1)] = 8
    crop_s: Annotated[float, Field(gt=0, le=10)] = 4.0
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    accumulate: Annotated[int, Field(ge=1)] = 1
    ranks: Annotated[int, Field(ge=1)] = 1
    sharding: Literal["none", "full"] = "none"
    length_buckets: Annotated[int, Field(ge=1)] = 1
    balance: Annotated[float, Field(ge=0, le=1)] = 1.0
    times: Literal["uniform", "logit_normal", "early"] = "early"
    channels: Literal["even", "deviation"] = "deviation"
    dropout: Literal["condition", "batch"] = "condition"
    padding: Literal["masked", "signal"] = "masked"
    context_positions: Literal["preset", "on", "off"] = "preset"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init_from: str = ""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    seed: int = 0
    threads: Annotated[int, Field(ge=1)] = 2
    log_every: Annotated[int, Field(ge=1)] = 10
    save_every: Annotated[int, Field(ge=1)] = 100
    sample_every: Annotated[int, Field(ge=0)] = 0
    uniform_phonemes: Annotated[float, Field(ge=0, le=1)] = 0.0
    reframe: Annotated[float, Field(ge=0, le=1)] = 0.0
    grey: Annotated[float, Field(ge=0, le=1)] = 0.0
    few_steps: Annotated[int, Field(ge=0)] = 0
    few_steps_guidance: Annotated[float, Field(ge=0, le=20)] = 3.0

    def __post_init__(self) -> None:
        """Raises ValueError for an uneven share of a batch, or a shared model to be compiled."""
        if self.batch_size % self.parts:
            raise ValueError(
                f"train.batch_size={self.batch_size} must be a multiple of train.ranks="
                f"{self.ranks} times train.accumulate={self.accumulate}"
            )
        if self.is_sharded and self.compile:
            raise ValueError(
                "train.compile=true cannot compile a model whose layers are gathered as they "
                "compute; set train.sharding: none, or train.compile: false"
            )

    @property
    def parts(self) -> int:
        """Parts of a batch, those of all ranks together."""
        return self.ranks * self.accumulate

    @property
    def is_sharded(self) -> bool:
        """Whether no rank holds the whole model."""
        return self.sharding == "full" and self.ranks > 1

    @property
    def steps(self) -> int:
        """Steps of the model: those of both of its phases together."""
        return self.joint_steps + self.mixture_steps

    @property
    def all_steps(self) -> int:
        """Steps of the model, and then of the network for few steps."""
        return self.steps + self.few_steps

    def phase(self, step: int) -> Phase:
        """The phase of a step, counted from 0."""
        if step >= self.steps:
            return "few_steps"
        return "joint" if step < self.joint_steps else "mixtures"

    def is_saved(self, step: int) -> bool:
        """Whether the state is saved when so many steps are taken: a network's last step's too."""
        return step % self.save_every == 0 or self._is_last(step)

    def is_sampled(self, step: int) -> bool:
        """Whether a sample of audio is made when so many steps are taken."""
        every = self.sample_every
        return bool(every) and (step % every == 0 or self._is_last(step))

    def _is_last(self, step: int) -> bool:
        return step in (self.steps, self.all_steps)

    def has_mixtures(self, step: int) -> bool:
        """Whether a step's batch has mixtures: those of fine-tuning, and all after it."""
        return self.phase(min(step, self.steps - 1)) == "mixtures"

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        third = self.learning_rate / 3
        peak, start, steps = {
            "joint": (self.learning_rate, 0, self.joint_steps),
            "mixtures": (third, self.joint_steps, self.mixture_steps),
            "few_steps": (third, self.steps, self.few_steps),
        }[self.phase(step)]
        return peak * warm * (0.55 + 0.45 * math.cos(math.pi * (step - start) / steps))
