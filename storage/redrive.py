"""Queue rejected items again: their stage finds them pending at the next build."""

from dataclasses import dataclass
from typing import Any

from storage.catalog import Catalog

CHOSEN = """FROM lake.rejects WHERE ($reason IS NULL OR reason = $reason)
            AND ($stage IS NULL OR stage = $stage) AND ($item_id IS NULL OR item_id = $item_id)"""


@dataclass(frozen=True, slots=True)
class Redrive:
    """The rejects that were queued again, or would be: rows of stage, reason and their number."""

    rows: tuple[dict[str, Any], ...]
    is_applied: bool

    @property
    def items(self) -> int:
        """How many items."""
        return sum(row["items"] for row in self.rows)


class NothingRejected(ValueError):
    """No reject has the reason, stage and item that were asked for."""


def redrive(
    catalog: Catalog,
    reason: str | None = None,
    stage: str | None = None,
    item_id: str | None = None,
    apply: bool = False,
) -> Redrive:
    """Says which rejects would be queued again; with apply, queues them in one transaction.

    The rejects and their progress are dropped, so that the items are as if never tried.

    Args:
        catalog: open for writing where apply is set.
        reason: only this reason code.
        stage: only of this stage.
        item_id: only this item.
        apply: do it; takes the workspace's writer lock.

    Raises NothingRejected where no reject fits, naming what there is; WorkspaceBusy where another
    process writes.
    """
    if apply:
        with catalog.gate.building():
            return _redriven(catalog, {"reason": reason, "stage": stage, "item_id": item_id}, True)
    return _redriven(catalog, {"reason": reason, "stage": stage, "item_id": item_id}, False)


def _redriven(catalog: Catalog, chosen: dict[str, str | None], apply: bool) -> Redrive:
    rows = catalog.rows(
        f"SELECT stage, reason, count(*) AS items {CHOSEN} GROUP BY ALL ORDER BY ALL", chosen
    )
    if not rows and any(chosen.values()):
        there = catalog.rows("SELECT DISTINCT stage, reason FROM lake.rejects ORDER BY ALL")
        known = ", ".join(f"{row['stage']} {row['reason']}" for row in there) or "none"
        asked = " ".join(f"{name}={value}" for name, value in chosen.items() if value)
        raise NothingRejected(f"no reject has {asked}; there are: {known}")
    if rows and apply:

        def write() -> None:
            catalog.connection.execute(
                f"DELETE FROM lake.progress WHERE (stage, item_id) IN (SELECT (stage, item_id) "
                f"{CHOSEN})",
                chosen,
            )
            catalog.connection.execute(f"DELETE {CHOSEN}", chosen)

        catalog.write(write, "the redrive")
    return Redrive(tuple(rows), apply)
