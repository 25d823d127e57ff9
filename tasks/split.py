"""Put every source into a split, so that no two that may leak into each other are parted.

Sources are joined by the edges of `relations` into components; a component is in one split whole.

**How it is stable without a memory.** Each source has *draws*: hashes of the speakers and
recordings that its manifest names, or of its own id where it names none; a split that the manifest
names is a draw itself, in place of the id's. A draw gives a split by chance; the split of a
component is the strictest of its members' draws: test over validation over train. A union of
components has the draws of both, so the strictest can only become stricter: whatever is added, in
whatever order, a source never leaves test or validation for train, an unrelated source changes
nothing, and a build from scratch gives the same as many small ones.

**What it costs.** A component of n unnamed sources has n draws, so with a test share of t it is in
test with probability 1 - (1 - t)^n; two near-duplicates at t = 0.1 in 19 % of cases. No rule
without that drift is stable: each source alone must have its share, and their union inherits the
strictest. Named groups do not drift: the thirteen thousand lines of one reader have one draw. So
name what is known to belong together, in the manifest, before it is drawn.

**What a memory adds.** Where a relation is taken back (a bridge between two sources goes, a
manifest names a speaker later or otherwise, a threshold is tightened) the rule alone would set
sources free. A split that is recorded under the same salt and shares counts as one more draw of its
source, so that they stay as strict as they were; a new salt draws all anew.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from pydantic import Field

from storage.ids import hash_of
from storage.keys import SPLITS
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items

if TYPE_CHECKING:
    from storage.catalog import Catalog

DRAWN = pa.schema(
    [("source_id", pa.string()), ("component_id", pa.string()), ("split", pa.string())]
)


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """Shares of the splits.

    Attributes:
        test: share of draws that give the test split.
        validation: share of draws that give the validation split.
        salt: a change of salt, or of a share, draws all splits anew.
    """

    test: Annotated[float, Field(ge=0, lt=1)] = 0.1
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.05
    salt: str = "talkies"

    def __post_init__(self) -> None:
        """Raises ValueError where nothing would be left to train on."""
        if self.test + self.validation >= 1:
            raise ValueError(
                f"split.test={self.test:g} + split.validation={self.validation:g} leave no "
                "training split; lower them"
            )

    @property
    def drawing(self) -> str:
        """What the draws depend on, as a hash."""
        return hash_of("drawing", self.salt, self.test, self.validation)


def split_of(draw: str, config: SplitConfig) -> str:
    """The split of a draw: its salted hash as a number in [0, 1) against the shares."""
    digest = hashlib.sha256(f"{config.salt}:{draw}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < config.test:
        return "test"
    return "validation" if share < config.test + config.validation else "train"


def components(source_ids: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Source → its component, which is the first id in it; by union-find.

    An edge to a source that is not there joins nothing.
    """
    parent = {source_id: source_id for source_id in source_ids}

    def root(source_id: str) -> str:
        while parent[source_id] != source_id:
            parent[source_id] = parent[parent[source_id]]
            source_id = parent[source_id]
        return source_id

    for one, other in edges:
        if one in parent and other in parent:
            first, second = sorted((root(one), root(other)))
            parent[second] = first
    return {source_id: root(source_id) for source_id in parent}


def splits_of(
    component_ids: Mapping[str, str],
    names: Iterable[tuple[str, str]],
    recorded: Mapping[str, str],
    config: SplitConfig,
    given: Iterable[tuple[str, str]] = (),
) -> dict[str, str]:
    """Component → its split.

    Args:
        component_ids: source → component.
        names: (source, name) for every speaker and recording that is named.
        recorded: source → split that it was given before under the same drawing.
        config: shares and salt.
        given: (source, split) that the manifest names.
    """
    put: dict[str, list[str]] = {}
    for source_id, split in given:
        put.setdefault(source_id, []).append(split)
    named: dict[str, set[str]] = {}
    for source_id, name in names:
        named.setdefault(source_id, set()).add(name)
    strictest: dict[str, int] = {}
    for source_id, component_id in component_ids.items():
        own = () if source_id in put else (source_id,)
        drawn = [split_of(draw, config) for draw in named.get(source_id, own)]
        drawn += put.get(source_id, [])
        drawn += [recorded[source_id]] if source_id in recorded else []
        place = max(SPLITS.index(split) for split in drawn)
        strictest[component_id] = max(place, strictest.get(component_id, 0))
    return {component_id: SPLITS[place] for component_id, place in strictest.items()}


def drawn_splits(catalog: "Catalog", config: SplitConfig) -> dict[str, pa.Table]:
    """Every source with its component and split, as the table `drawn`."""

    def rows(sql: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        return catalog.connection.execute(sql, values).fetchall()

    sources = [row[0] for row in rows("SELECT source_id FROM sources")]
    pairs = rows("SELECT source_id, other_id FROM relations")
    names = rows("SELECT source_id, kind || ':' || name FROM named_sources")
    recorded = rows("SELECT source_id, split FROM splits WHERE drawing = ?", [config.drawing])
    joined = components(sources, ((one, other) for one, other in pairs))
    given = rows("SELECT source_id, split FROM files WHERE split IS NOT NULL")
    splits = splits_of(
        joined, ((s, n) for s, n in names), dict(recorded), config, ((s, g) for s, g in given)
    )
    table = {
        "source_id": list(joined),
        "component_id": list(joined.values()),
        "split": [splits[component] for component in joined.values()],
    }
    return {"drawn": pa.table(table, schema=DRAWN)}


def split_shard(shard: ShardRef, out: ShardTarget, config: SplitConfig) -> ShardResult:
    """Writes the component and the split of each source."""

    def split_source(item: dict[str, Any]) -> Rows:
        row = {
            "source_id": item["item_id"],
            "component_id": item["component_id"],
            "split": item["split"],
            "drawing": config.drawing,
        }
        return {"splits": [row]}

    return run_items(shard, out, split_source)


STAGE = Stage(
    name="split",
    title="split sources",
    version=2,
    config=SplitConfig,
    items="SELECT source_id AS item_id, component_id, split, 1.0 AS cost_s FROM drawn",
    outputs=(Output("splits", key="source_id"),),
    run=split_shard,
    shard_s=1_000_000.0,
    given=drawn_splits,
)
