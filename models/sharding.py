"""A transformer shared out over processes: each keeps its part of every weight.

The weights of a layer are gathered whenever it computes and let go of after it (FSDP2,
`torch.distributed.fsdp.fully_shard`). A weight that a batch does not use has no gradient then, as
in a model that is whole.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from models.sizes import VSSFlowConfig
from models.transformer import Block, VSSFlow


def gathered_together(model: VSSFlow) -> list[list[nn.Module]]:
    """The modules whose weights are gathered at once; those in none of them stay gathered a step.

    All of them are products alone, whose weights autocast rounds too. Keys and values of a layer
    are apart, because `VSSFlow.prepare` computes them before the layers.
    """
    groups: list[list[nn.Module]] = []
    for block in model.blocks:
        if isinstance(block, Block):
            groups.append([block.cross_attention.key_value])
            groups.append([block.self_attention, block.cross_attention, block.ffn])
    return groups


def gathered_numbers(model: VSSFlow) -> tuple[int, int]:
    """How many numbers stay gathered for a whole step, and how many those of a layer are at most.

    For a model that is not shared out yet.
    """
    sizes: list[int] = []
    seen: set[nn.Parameter] = set()
    for modules in gathered_together(model):
        own = {weight for module in modules for weight in module.parameters()} - seen
        sizes.append(sum(weight.numel() for weight in own))
        seen |= own
    everything = sum(weight.numel() for weight in model.parameters())
    return everything - sum(sizes), max(sizes)


def share_out(models: Sequence[VSSFlow], device: torch.device, precision: torch.dtype) -> None:
    """Shares out models' weights over all processes of the group, as the first of them has them.

    Weights and sums of gradients stay in float32; those of the layers are gathered in
    ``precision``, in which autocast would compute with them.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    layers = MixedPrecisionPolicy()
    if precision != torch.float32:
        layers = MixedPrecisionPolicy(
            param_dtype=precision, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    for model in models:
        for weight in model.parameters():
            torch.distributed.broadcast(weight.data, 0)
        for modules in gathered_together(model):
            fully_shard(modules, mesh=mesh, mp_policy=layers)
        fully_shard(model, mesh=mesh)


def whole(state: Any, keep: bool = True) -> Any:
    """A state dict with its shared tensors whole, on the CPU; None for them where not kept.

    All processes must ask at once, for the same state.
    """
    if isinstance(state, DTensor):
        full = state.full_tensor()
        return full.cpu() if keep else None
    if isinstance(state, dict):
        return {name: whole(value, keep) for name, value in state.items()}
    return state


def load_share(part: nn.Module | torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Gives a shared model or its optimiser this process's part of a whole state dict."""
    if isinstance(part, nn.Module):
        now = part.state_dict()
        part.load_state_dict({name: _share(value, now[name]) for name, value in state.items()})
        return
    weights = [weight for group in part.param_groups for weight in group["params"]]
    kept = {
        number: {
            name: _share(value, weights[number]) if value.ndim else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    part.load_state_dict(state | {"state": kept})


def assembled(config: VSSFlowConfig, weights: dict[str, Tensor]) -> VSSFlow:
    """A model that has whole weights as its own."""
    with torch.device("meta"):
        model = VSSFlow(config)
    model.load_state_dict(weights, assign=True)
    return model


def _share(value: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a tensor that all have whole; the whole of what is not shared."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
