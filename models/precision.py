"""In which precision products are computed; weights and sums stay in float32."""

import torch


def computing_in(precision: torch.dtype, device: torch.device) -> torch.autocast:
    """The context in which products on a device are computed in a precision.

    It keeps weights that it has turned until it ends: all steps of a solver belong in one.
    """
    lower = precision != torch.float32
    return torch.autocast(device.type, precision if lower else None, enabled=lower)
