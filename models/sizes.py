"""Sizes and switches of the transformer."""

from dataclasses import dataclass

from models.phoneme_ids import INVENTORY_SIZE


@dataclass(frozen=True, slots=True)
class VSSFlowConfig:
    """Sizes and switches of a `VSSFlow`."""

    layers: int = 10
    width: int = 1536
    heads: int = 24
    context_heads: int = 12
    """Key and value heads of cross-attention, shared by groups of query heads."""
    context_width: int = 768
    ffn_width: int = 6144
    """Inner width of the SwiGLU feed-forward network."""
    audio_channels: int = 64
    visual_dim: int = 1280
    motion_dim: int = 18
    speaker_dim: int = 256
    phoneme_count: int = INVENTORY_SIZE
    phoneme_dim: int = 32
    sync_dim: int = 0
    """Channels of audio-visual sync features; 0 = the model has no such condition."""
    sync_cells: int = 0
    """Cells per side of the grids that sync is (`models.pixels`), which a convolutional network
    reads; 0 = sync is concatenated as it is, or passes ``aligned_hidden``."""
    cells_width: int = 64
    """Channels that a latent has of that network."""
    cells_blocks: int = 0
    """Blocks over time that it ends with."""
    lips_dim: int = 0
    """Channels of lip features; 0 = the model has no such condition."""
    aligned_hidden: int = 0
    """Hidden width of the networks that sync and lips pass; 0 concatenates them as they are."""
    deep_context: bool = False
    """Whether what is seen and who speaks passes a second layer; False = one linear layer each."""
    full_output: bool = False
    """Whether the output has the input's channels, as published; the loss reads audio alone."""
    velocity_offset: bool = False
    """Whether a learned offset per audio channel is added: the mean of latents that are not
    normalised, which no layer behind the blocks has a bias to hold."""
    fourier_features: int = 128
    rotary_share: float = 0.5
    """Share of each head's dimensions that rotary positions turn (32 of 64 in the paper)."""
    context_positions: bool = True
    """Whether cross-attention knows when a visual frame was seen; the paper's position is False."""

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that do not divide."""
        if self.width % self.heads:
            raise ValueError(f"width={self.width} must be a multiple of heads={self.heads}")
        if self.heads % self.context_heads:
            raise ValueError(
                f"heads={self.heads} must be a multiple of context_heads={self.context_heads}"
            )
        if self.rotary_dim % 2 or not 0 <= self.rotary_dim <= self.head_dim:
            raise ValueError(
                f"rotary_share={self.rotary_share} of head size {self.head_dim} "
                "must be an even number of dimensions"
            )

        if self.sync_cells and (self.sync_dim < 1 or self.sync_dim % self.sync_cells**2):
            raise ValueError(
                f"sync_dim={self.sync_dim} is not that of whole grids of sync_cells="
                f"{self.sync_cells} cells per side (a multiple of {self.sync_cells**2})"
            )

    @property
    def sync_kinds(self) -> int:
        """Grids of cells that each latent has; `sync_cells` must not be 0."""
        return self.sync_dim // self.sync_cells**2

    @property
    def sync_channels(self) -> int:
        """Channels of sync among the concatenated conditions."""
        return self.cells_width if self.sync_cells else self.sync_dim

    @property
    def head_dim(self) -> int:
        """Dimensions of one attention head."""
        return self.width // self.heads

    @property
    def rotary_dim(self) -> int:
        """Dimensions per head that positions turn."""
        return round(self.head_dim * self.rotary_share)

    @property
    def aligned_dim(self) -> int:
        """Channels of the concatenated conditions."""
        return self.motion_dim + self.phoneme_dim + self.sync_channels + self.lips_dim

    @property
    def input_dim(self) -> int:
        """Channels of the latents and the concatenated conditions together."""
        return self.audio_channels + self.aligned_dim

    @property
    def output_dim(self) -> int:
        """Channels that leave the transformer, of which the first are the audio's."""
        return self.input_dim if self.full_output else self.audio_channels
