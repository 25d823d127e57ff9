"""What a training step of the transformer costs: numbers kept, multiplications and additions.

Legend: B batch, N latents (25 per second), T = N + 1 tokens, F visual frames (10 per second),
K = F + 2 context tokens, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from models.sizes import VSSFlowConfig


@dataclass(frozen=True, slots=True)
class StepShape:
    """The shape of a batch; every condition is given in every sample."""

    batch: int
    latents: int
    frames: int

    @property
    def tokens(self) -> int:
        """Tokens of a sample in self-attention, with the one of the time."""
        return self.latents + 1

    @property
    def context(self) -> int:
        """Tokens of a sample that cross-attention reads, with the speaker and the null."""
        return self.frames + 2


class Product(NamedTuple):
    """A product of matrices (rows, inner) and (inner, columns), repeated."""

    rows: int
    inner: int
    columns: int
    times: int = 1
    from_data: bool = False
    """Whether the left matrix is data, which needs no gradient."""

    @property
    def forward(self) -> int:
        """Operations, of which a multiplication and its addition are two."""
        return 2 * self.rows * self.inner * self.columns * self.times

    @property
    def backward(self) -> int:
        """Operations of the gradients of both matrices."""
        return self.forward * (1 if self.from_data else 2)


def products(config: VSSFlowConfig, shape: StepShape) -> Iterator[Product]:
    """Every matrix product of a forward pass, those of attention among them."""
    yield from _condition_products(config, shape)
    width, channels = config.width, config.audio_channels
    latents = shape.batch * shape.latents
    yield Product(shape.batch, 2 * config.fourier_features, width, from_data=True)
    yield Product(shape.batch, width, width)
    yield Product(latents, config.aligned_dim, config.input_dim)
    yield Product(latents, config.input_dim, width)
    yield Product(width, config.input_dim, channels)  # both input layers in one, for the latents
    yield Product(latents, channels, width, from_data=True)
    yield from _block_products(config, shape)
    yield Product(latents, width, config.output_dim)
    yield Product(latents, config.output_dim, channels)


def flops_per_step(config: VSSFlowConfig, shape: StepShape) -> int:
    """Operations of the matrix products of a forward and a backward pass; nothing is recomputed.

    What is not a matrix product (norms, activations, turns, the optimiser) is left out.
    """
    return sum(product.forward + product.backward for product in products(config, shape))


def flops_of_forward(config: VSSFlowConfig, shape: StepShape) -> int:
    """Operations of the matrix products of a forward pass alone."""
    return sum(product.forward for product in products(config, shape))


def activation_numbers(config: VSSFlowConfig, shape: StepShape, *, fused: bool = True) -> int:
    """How many numbers the forward pass keeps for the backward pass, with fused attention or not.

    Of a token a block keeps 9 W of self-attention (the input of its norm and of its projection,
    queries, keys and values in one, queries and keys turned, what was read by heads and joined),
    5 W of cross-attention, 2 W before the feed-forward network and 4 inner widths within it.
    Attention that is not fused, as on a CPU, keeps what each head gives each token; what was read
    only joined, and turned queries only scaled.
    """
    latents, context = shape.batch * shape.latents, shape.batch * shape.context
    width, wide = config.width, config.context_width
    of_token = 16 * width + 4 * config.ffn_width + 2 * config.heads
    if not fused:
        of_token += config.heads * (shape.tokens + shape.context - 2)
        of_token -= (3 + config.context_positions) * width
    in_block = shape.batch * shape.tokens * of_token
    of_context = 2 * width * context  # keys and values of a layer
    kept = config.layers * (in_block + of_context)
    kept += shape.batch * shape.tokens * width  # what leaves the last block
    for channels in (config.sync_dim, config.lips_dim):
        kept += latents * (channels + 2 * config.aligned_hidden * bool(channels))
    kept += latents * (config.aligned_dim + config.input_dim)
    kept += latents * (config.output_dim + 3 * config.audio_channels)  # the output and the loss
    kept += context * (3 + 3 * config.deep_context) * wide + context * config.visual_dim
    return kept


def _condition_products(config: VSSFlowConfig, shape: StepShape) -> Iterator[Product]:
    wide, latents = config.context_width, shape.batch * shape.latents
    for rows, channels in (
        (shape.batch * shape.frames, config.visual_dim),
        (shape.batch, config.speaker_dim),
    ):
        yield Product(rows, channels, wide, from_data=True)
        if config.deep_context:
            yield Product(rows, wide, wide)
    yield Product(shape.batch * shape.context, wide, wide, times=2)
    for channels in (config.sync_dim, config.lips_dim):
        yield Product(latents, channels, config.aligned_hidden, from_data=True)
        yield Product(latents, config.aligned_hidden, channels)


def _block_products(config: VSSFlowConfig, shape: StepShape) -> Iterator[Product]:
    layers, width = config.layers, config.width
    rows = shape.batch * shape.tokens
    yield Product(rows, width, width, times=6 * layers)  # query, key, value, out; query, out
    yield Product(
        shape.batch * shape.context,
        config.context_width,
        2 * config.context_heads * config.head_dim,
        times=layers,
    )
    for read in (shape.tokens, shape.context):
        heads = shape.batch * config.heads * layers
        yield Product(shape.tokens, config.head_dim, read, times=heads)
        yield Product(shape.tokens, read, config.head_dim, times=heads)
    yield Product(rows, width, 2 * config.ffn_width, times=layers)
    yield Product(rows, config.ffn_width, width, times=layers)
