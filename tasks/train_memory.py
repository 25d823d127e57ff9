"""Memory that does not suffice for a training step: the batch that would fit is found by trying."""

from typing import TYPE_CHECKING

from tasks.few_steps import InTraining
from tasks.train_device import name_of

if TYPE_CHECKING:
    from torch import Tensor

NO_MEMORY_ON_CPU = "can't allocate memory"


class OutOfMemory(RuntimeError):
    """A training step that needs more memory than there is; says which batch would fit."""


def guarded_step(trainer: InTraining) -> "Tensor":
    """A training step; raises OutOfMemory with the batch that fits where this one does not."""
    try:
        return trainer.train_step()
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    # Not before the failed step's tensors are let go of, which the exception holds.
    raise OutOfMemory(_advice(trainer))


def require_room(trainer: InTraining) -> None:
    """Raises OutOfMemory where there is none for a part of the next step, which is not taken."""
    if not _fits(trainer, trainer.config.batch_size // trainer.config.parts):
        raise OutOfMemory(_advice(trainer))


def largest_part(trainer: InTraining) -> int:
    """How many clips at once a step has memory for, found by halving; 0 where not for one."""
    fits, too_many = 0, trainer.config.batch_size // trainer.config.parts
    trainer.close()
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if _fits(trainer, middle):
            fits = middle
        else:
            too_many = middle
    return fits


def _fits(trainer: InTraining, clips: int) -> bool:
    import torch

    trainer.optimiser.zero_grad(set_to_none=True)
    if trainer.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        # The first step ran before the optimiser had anything to remember.
        moments = [] if trainer.optimiser.state else _moments(trainer)
        trainer.backward(clips)
        del moments
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        return False
    return True


def _moments(trainer: InTraining) -> "list[Tensor]":
    import torch

    weights = [w for w in trainer.model.parameters() if w.requires_grad]
    return [torch.empty_like(weight) for weight in weights for _ in range(2)]


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or NO_MEMORY_ON_CPU in str(error)


def _advice(trainer: InTraining) -> str:
    config, where = trainer.config, name_of(trainer.device, trainer.config.threads)
    lacking = f"train.batch_size={config.batch_size}: out of memory on {where}"
    if trainer.sharded:  # a smaller part cannot be tried while the other ranks wait for this one
        return (
            f"{lacking}; set train.accumulate higher than {config.accumulate}, or train.batch_size "
            "or train.crop_s lower, or take more train.ranks"
        )
    fits = largest_part(trainer)
    if not fits:
        return (
            f"{lacking}, where not even one clip fits; take a smaller train.preset or "
            "train.crop_s, or train.precision: bfloat16"
        )
    share = config.batch_size // config.ranks
    parts = next(n for n in range(1, share + 1) if share % n == 0 and share // n <= fits)
    return (
        f"{lacking}, which has room for {fits} clips at once; set train.batch_size: "
        f"{fits * config.parts}, or keep it and set train.accumulate: {parts}"
    )
