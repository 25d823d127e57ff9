"""Training under torchrun, which starts the ranks on any number of machines.

    torchrun --nproc-per-node 8 --no-python talkies train recipe.yaml

Rank 0 is the command as always: it alone opens the catalog. The others wait for what it trains, and
train along. The machines must share the workspace's folder, where the state to go on from lies.
"""

import dataclasses
import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tasks.train_device import Rank

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    from tasks.train_ranks import RankJob

PATIENCE = timedelta(days=7)
"""How long a rank waits for rank 0, which may have to wait for the catalog."""


def is_launched() -> bool:
    """Whether torchrun started this process, or the command that it works for."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def own_rank() -> Rank:
    """Which of the processes that torchrun has started this is."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Rank(*(int(os.environ[name]) for name in names))


def announce(job: "RankJob | None") -> None:
    """Tells the other ranks what is trained, or that nothing is; the first word counts."""
    told = json.dumps(None if job is None else dataclasses.asdict(job))
    _store().compare_set(_key(), "", told)


def awaited() -> "RankJob | None":
    """What rank 0 trains, when it has told; None where it has nothing to train."""
    from models.sizes import VSSFlowConfig
    from tasks.train_config import TrainConfig
    from tasks.train_ranks import RankJob

    store = _store()
    store.wait([_key()], PATIENCE)
    told: dict[str, Any] | None = json.loads(store.get(_key()))
    if told is None:
        return None
    config, sizes = TrainConfig(**told.pop("config")), VSSFlowConfig(**told.pop("sizes"))
    return RankJob(**told, config=config, sizes=sizes)


def _key() -> str:
    return f"talkies/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _store() -> "TCPStore":
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    return TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=PATIENCE
    )
