"""What gets a soundtrack, and how it is generated: the settings of a recipe's `sonify` section."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tasks.sampling import Sampling, SolverName, require_steps


@dataclass(frozen=True, slots=True)
class Target:
    """A source that gets a soundtrack.

    Attributes:
        file: its path, or its name where that is unique.
        script: what is spoken: empty for nothing, `transcript` for the words that the catalog
            holds of it, else the text itself (SubRip, WebVTT or plain).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    file: str
    script: str = ""


@dataclass(frozen=True, slots=True)
class SonifyConfig:
    """What gets a soundtrack, and how it is generated.

    Attributes:
        dataset: the newest model of NAME or NAME@VERSION is used; empty takes the recipe's own.
        checkpoint: id of a model to use instead; empty for the newest.
        targets: the sources.
        takes: soundtracks for each source, each with its own noise.
        steps: of the solver, where it is euler or midpoint, or few_steps, which takes 1, 2, 4, 8 or
            16.
        guidance: how strongly the conditions are followed; 1 is no guidance. Solver few_steps reads
            neither scale: it has `train.few_steps_guidance` built in.
        speech_guidance: how strongly words and voice are followed, where that differs; null takes
            `guidance`. Scales apart cost half as much time again.
        solver: of the way from noise to sound; dopri5 chooses its own steps, and few_steps is the
            model's second network (`train.few_steps`), which needs few and half the time for each.
        tolerance: the error that dopri5 allows a step, relative and absolute.
        temperature: how strong the noise is that a generation begins with: 1 as in training; less
            makes what is likelier, and less that is different in another take.
        seed: of the noise.
        precision: bfloat16 takes half the time where the processor has such instructions, and
            moves the latents by less than one in a hundred.
        durations: `predicted` speaks a script at the pace of the model's own training speech,
            from the start of each cue; `uniform` shares a cue's whole time among its words by
            their letters, as for a model that was trained without speech, or for one that takes
            the time of each from the lips (`train.uniform_phonemes`).
        voice: who shall speak, by the name that the training data's truth or manifest gives them;
            the model's card lists those that it knows. Empty leaves it to the model.
        voice_file: a recording, or a film, of the voice that shall speak, of which the first minute
            is heard; in place of a name, for a model that was told of voices
            (`speaker.network`). Imitating a person needs that person's consent.
    """

    dataset: str = ""
    checkpoint: str = ""
    targets: tuple[Target, ...] = ()
    takes: Annotated[int, Field(ge=1, le=16)] = 1
    steps: Annotated[int, Field(ge=1, le=1000)] = 25
    guidance: Annotated[float, Field(ge=0, le=20)] = 3.0
    speech_guidance: Annotated[float | None, Field(ge=0, le=20)] = None
    solver: SolverName = "euler"
    tolerance: Annotated[float, Field(gt=0, le=1)] = 1e-5
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    durations: Literal["predicted", "uniform"] = "predicted"
    voice: str = ""
    voice_file: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for a target named twice, two voices, and steps that cannot be taken.

        The soundtracks of a target that is named twice would be one.
        """
        if self.voice and self.voice_file:
            raise ValueError(
                f"sonify.voice={self.voice!r} and sonify.voice_file={self.voice_file!r}: a "
                "soundtrack has one voice; leave one of them out"
            )
        files = [target.file for target in self.targets]
        if twice := sorted({file for file in files if files.count(file) > 1}):
            raise ValueError(f"sonify.targets names {twice[0]} twice; keep one of them")
        require_steps("sonify", self.solver, self.steps)

    @property
    def sampling(self) -> Sampling:
        """How the model is sampled."""
        return Sampling(
            self.solver,
            self.steps,
            self.guidance,
            self.speech_guidance,
            self.tolerance,
            self.temperature,
            self.precision,
        )
