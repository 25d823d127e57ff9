"""What the transformer is told about a clip: what is seen, what moves, what is said and by whom.

Legend: B batch, N latents (25 per second), F visual frames (10 per second), D channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

NAMES = ("visual", "motion", "phonemes", "speaker", "sync", "lips")
"""Every condition that can be absent or dropped, by the name of its field."""


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """The conditions of a batch of clips, each of which may be absent in any sample.

    Absent is not the same as empty: a clip in which nobody speaks has phonemes that are all 0, and
    the model is told so; a clip without known phonemes has ``has_phonemes`` False, and the model
    sees a learned null in their place. The ``has_*`` flags default to present wherever the tensor
    is given. Raises ValueError when shapes disagree.
    """

    mask: Tensor
    """(B, N) bool, True = a real latent, False = padding."""
    visual: Tensor | None = None
    """(B, F, Dv) float, visual features at 10 fps, read by cross-attention."""
    visual_mask: Tensor | None = None
    """(B, F) bool, True = a real frame; all True when absent."""
    motion: Tensor | None = None
    """(B, N, Dm) float, motion energy at 25 Hz, concatenated."""
    phonemes: Tensor | None = None
    """(B, N) long, ids of `models.phoneme_ids`, 0 = nothing is said, concatenated as embeddings."""
    speaker: Tensor | None = None
    """(B, Ds) float, speaker vector, one cross-attention token."""
    sync: Tensor | None = None
    """(B, N, Dy) float, audio-visual sync features at 25 Hz, concatenated."""
    lips: Tensor | None = None
    """(B, N, Dl) float, lip features at 25 Hz, concatenated."""
    has_visual: Tensor | None = None
    """(B,) bool; True where ``visual`` counts. A sample without a real frame has no visual."""
    has_motion: Tensor | None = None
    """(B,) bool; True where ``motion`` counts."""
    has_phonemes: Tensor | None = None
    """(B,) bool; True where ``phonemes`` counts."""
    has_speaker: Tensor | None = None
    """(B,) bool; True where ``speaker`` counts."""
    has_sync: Tensor | None = None
    """(B,) bool; True where ``sync`` counts."""
    has_lips: Tensor | None = None
    """(B,) bool; True where ``lips`` counts."""

    def __post_init__(self) -> None:
        """Fills masks and flags that were not given, and checks shapes."""
        batch, latents = self.mask.shape
        aligned = ("motion", "phonemes", "sync", "lips")
        expected = {name: (batch, latents) for name in aligned} | {"speaker": (batch,)}
        if self.visual is not None:
            frames = self.visual.shape[1]
            expected |= {"visual": (batch,), "visual_mask": (batch, frames)}
            if self.visual_mask is None:
                self._set("visual_mask", self.mask.new_ones(batch, frames))
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape[: len(shape)]) != shape:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}; it must begin with {shape} "
                    f"to go with a mask of shape {tuple(self.mask.shape)}"
                )
        for name in NAMES:
            given = getattr(self, name) is not None
            flag = getattr(self, f"has_{name}")
            if flag is None:
                self._set(f"has_{name}", self.mask.new_full((batch,), given))
            elif tuple(flag.shape) != (batch,):
                raise ValueError(f"has_{name} has shape {tuple(flag.shape)}; expected ({batch},)")
            elif not given:
                self._set(f"has_{name}", torch.zeros_like(flag))
        if self.visual_mask is not None:
            self._set("has_visual", self.present("visual") & self.visual_mask.any(1))

    @property
    def batch(self) -> int:
        """Samples, B."""
        return self.mask.shape[0]

    @property
    def given(self) -> tuple[str, ...]:
        """The conditions that any sample can have: those with a tensor."""
        return tuple(name for name in NAMES if getattr(self, name) is not None)

    def present(self, name: str) -> Tensor:
        """(B,) bool, True in the samples where the condition ``name`` counts."""
        flag: Tensor = getattr(self, f"has_{name}")
        return flag

    def to(self, device: torch.device | str) -> Self:
        """The same conditions on ``device``."""
        return self._map(lambda tensor: tensor.to(device))

    def null(self) -> Self:
        """The same batch with every condition dropped, as guidance needs it; ``mask`` stays."""
        return self.dropped({name: self.mask.new_zeros(self.batch) for name in NAMES})

    def unpadded(self) -> Self:
        """The same batch with padding taken for clips that go on; what it holds must be finite."""
        return self._replace({"mask": torch.ones_like(self.mask)})

    def dropped(self, keep: Mapping[str, Tensor]) -> Self:
        """The same batch with conditions dropped where ``keep[name]`` (B,) bool is False.

        A name that ``keep`` does not hold is kept everywhere; one that is no condition raises
        ValueError.
        """
        unknown = sorted(set(keep) - set(NAMES))
        if unknown:
            raise ValueError(f"no condition is called {unknown[0]!r}; there are {', '.join(NAMES)}")
        changes = {
            f"has_{name}": self.present(name) & kept.to(self.mask.device)
            for name, kept in keep.items()
        }
        return self._replace(changes)

    @classmethod
    def cat(cls, parts: "Sequence[Conditions]") -> "Conditions":
        """One batch of several that hold the same fields at the same lengths."""
        values: dict[str, Any] = {}
        for entry in fields(cls):
            tensors = [getattr(part, entry.name) for part in parts]
            if any(tensor is None for tensor in tensors):
                if not all(tensor is None for tensor in tensors):
                    raise ValueError(f"{entry.name} is in some of the batches and not in others")
                continue
            values[entry.name] = torch.cat(tensors)
        return Conditions(**values)

    def _map(self, function: Any) -> Self:
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return self._replace({name: function(x) for name, x in given.items() if x is not None})

    def _replace(self, changes: Mapping[str, Any]) -> Self:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return type(self)(**(values | dict(changes)))

    def _set(self, name: str, value: Tensor) -> None:
        object.__setattr__(self, name, value)
