"""What a build will cost, judged from a pilot on excerpts of a stratified sample of its files.

Files fall into strata by kind (film or sound) and by size. Within a stratum the length of all files
follows from their bytes by the sample's ratio of seconds to bytes, and what a stage costs, stores
and keeps follows from the length by the sample's ratio (the combined ratio estimator of survey
sampling: Cochran, Sampling Techniques, 1977, ch. 6). Intervals are percentiles of a bootstrap over
the sampled files, drawn within each stratum; they say nothing of what no sampled file shows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from storage.ids import hash_of
from storage.shelf import Shelf
from storage.workspace import Workspace
from tasks.listing import AUDIO_SUFFIXES

DRAWS = 400
PERCENTILES = (5.0, 95.0)
SIZE_CLASSES = 3
SOUND = frozenset(AUDIO_SUFFIXES.split(" "))


@dataclass(frozen=True, slots=True)
class Tried:
    """What the pilot measured on one sampled file.

    Attributes:
        stratum: of the file.
        size_bytes: of the file.
        duration_s: length of the whole source; 0 for a reject.
        excerpt_s: length of the excerpt that the stages worked; 0 for a reject.
        worker_s: stage → seconds that a worker was busy with the excerpt.
        stored_bytes: what the workspace holds of the excerpt.
        kept_s: (kind, kept) → seconds of its clips.
        reason: why it was rejected, else empty.
    """

    stratum: str
    size_bytes: int
    duration_s: float = 0.0
    excerpt_s: float = 0.0
    worker_s: Mapping[str, float] = field(default_factory=dict)
    stored_bytes: float = 0.0
    kept_s: Mapping[tuple[str, bool], float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """An estimate with its 90 % interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Span":
        """The estimate in another unit."""
        return Span(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a build would take.

    Attributes:
        media_s: seconds of media in the files to come.
        worker_s: stage → busy seconds of one worker.
        total_worker_s: of all stages.
        stored_bytes: what the workspace would grow by.
        kept_s: (kind, kept) → seconds of clips.
        rejected: reason → files.
        tried: sampled files.
    """

    media_s: Span
    worker_s: dict[str, Span]
    total_worker_s: Span
    stored_bytes: Span
    kept_s: dict[tuple[str, bool], Span]
    rejected: dict[str, Span]
    tried: int


def strata_of(files: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The listed files by stratum: film or sound, and a third of the files by size in each."""
    strata: dict[str, list[Mapping[str, Any]]] = {}
    for kind in ("film", "sound"):
        group = [row for row in files if (_suffix(row["uri"]) in SOUND) == (kind == "sound")]
        group.sort(key=lambda row: (row["size_bytes"], row["uri"]))
        for number in range(SIZE_CLASSES):
            first, last = (len(group) * (number + at) // SIZE_CLASSES for at in (0, 1))
            if group[first:last]:
                strata[f"{kind} {number + 1}"] = group[first:last]
    return strata


def draw(strata: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
    """All files with their stratum in the order of trying: one of each stratum, turn by turn.

    The order within a stratum is by a hash of the name, so that a second plan tries the same files.
    """
    queues = {
        name: sorted(files, key=lambda row: hash_of("pilot", row["uri"]))
        for name, files in strata.items()
    }
    longest = max(map(len, queues.values()), default=0)
    return [
        (name, queue[turn])
        for turn in range(longest)
        for name, queue in queues.items()
        if turn < len(queue)
    ]


def forecast(
    tried: Sequence[Tried],
    new: Mapping[str, Sequence[Mapping[str, Any]]],
    known_s: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Forecast:
    """The forecast for files that are new and for stages that have known work besides.

    Args:
        tried: what the pilot measured.
        new: the files that no build has taken in yet, by stratum.
        known_s: stage → seconds of media that it has to work besides, of sources already known.
        seed: of the bootstrap.

    Raises ValueError where nothing was tried.
    """
    if not tried:
        raise ValueError("the pilot tried no file; give it more seconds")
    generator = np.random.default_rng(seed)
    table = _Table(tried, new, known_s or {})
    point = table.totals(np.arange(len(tried)))
    draws = np.stack(
        [
            table.totals(np.concatenate([generator.choice(r, len(r)) for r in table.members]))
            for _ in range(DRAWS)
        ]
    )
    low, high = np.percentile(draws, PERCENTILES, axis=0)
    spans = {
        name: Span(float(point[i]), float(min(low[i], point[i])), float(max(high[i], point[i])))
        for i, name in enumerate(table.names)
    }
    return Forecast(
        media_s=spans["media"],
        worker_s={s: spans[f"stage {s}"] for s in table.stages},
        total_worker_s=spans["all stages"],
        stored_bytes=spans["stored"],
        kept_s={key: spans[f"kept {key}"] for key in table.kinds},
        rejected={reason: spans[f"reject {reason}"] for reason in table.reasons},
        tried=len(tried),
    )


def collapsed(tried: Sequence[Tried], new: Iterable[str]) -> dict[str, str]:
    """Stratum → the stratum that stands for it, so that each has two tried files where any can.

    One file says nothing of the spread within its stratum: such strata are joined with the others
    of their kind, then with all (collapsed strata: Cochran 1977, ch. 5A.12).
    """
    names = sorted({*new, *(one.stratum for one in tried)})
    for join in (lambda name: name, lambda name: name.split(" ")[0], lambda name: "all"):
        joined = {name: join(name) for name in names}
        counts = dict.fromkeys(joined.values(), 0)
        for one in tried:
            counts[joined[one.stratum]] += 1
        if min(counts.values()) > 1:
            break
    return joined


class _Table:
    """The measures as arrays, so that a draw of the bootstrap is a few sums."""

    def __init__(
        self,
        tried: Sequence[Tried],
        new: Mapping[str, Sequence[Mapping[str, Any]]],
        known_s: Mapping[str, float],
    ) -> None:
        joined = collapsed(tried, new)
        strata = sorted(set(joined.values()))
        self._stratum = np.array([strata.index(joined[one.stratum]) for one in tried])
        self.members = [np.flatnonzero(self._stratum == i) for i in range(len(strata))]
        self._bytes, self._files = np.zeros(len(strata)), np.zeros(len(strata))
        for name, files in new.items():
            self._bytes[strata.index(joined[name])] += sum(row["size_bytes"] for row in files)
            self._files[strata.index(joined[name])] += len(files)
        self.stages = _in_order(one.worker_s for one in tried)
        self.kinds = sorted({key for one in tried for key in one.kept_s})
        self.reasons = sorted({one.reason for one in tried if one.reason})
        self.names = [
            "media",
            *(f"stage {stage}" for stage in self.stages),
            "all stages",
            "stored",
            *(f"kept {key}" for key in self.kinds),
            *(f"reject {reason}" for reason in self.reasons),
        ]
        self._known_s = np.array([known_s.get(stage, 0.0) for stage in self.stages])
        self._size = np.array([one.size_bytes for one in tried], float)
        self._duration = np.array([one.duration_s for one in tried])
        self._excerpt = np.array([one.excerpt_s for one in tried])
        self._per_stage = np.array(
            [[one.worker_s.get(s, 0.0) for s in self.stages] for one in tried]
        )
        self._per_kind = np.array([[one.kept_s.get(k, 0.0) for k in self.kinds] for one in tried])
        self._stored = np.array([one.stored_bytes for one in tried])
        self._reasons = np.array([[one.reason == r for r in self.reasons] for one in tried], float)

    def totals(self, chosen: np.ndarray) -> np.ndarray:
        """The totals, in the order of `names`, as the chosen files foretell them."""

        def per_stratum(values: np.ndarray) -> np.ndarray:
            summed = np.zeros((len(self._bytes), *values.shape[1:]))
            np.add.at(summed, self._stratum[chosen], values[chosen])
            return summed

        size, excerpt = per_stratum(self._size), per_stratum(self._excerpt)
        media = self._bytes * _ratio(per_stratum(self._duration), size)
        overall = _ratio(self._per_stage[chosen].sum(0), self._excerpt[chosen].sum())
        stages = media @ _ratio(per_stratum(self._per_stage), excerpt[:, None])
        stages = stages + self._known_s * overall
        counts = per_stratum(np.ones_like(self._size))
        return np.concatenate(
            [
                [media.sum()],
                stages,
                [stages.sum()],
                [media @ _ratio(per_stratum(self._stored), excerpt)],
                media @ _ratio(per_stratum(self._per_kind), excerpt[:, None]),
                self._files @ _ratio(per_stratum(self._reasons), counts[:, None]),
            ]
        )


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom > 0)


def _in_order(stages: Iterable[Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(stage for one in stages for stage in one))


def _suffix(uri: str) -> str:
    return PurePosixPath(uri).suffix.lower()


def tried_of(
    rows: Sequence[Mapping[str, Any]],
    excerpts: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]],
    workspace: Workspace,
) -> list[Tried]:
    """What a pilot's catalog says of each excerpt.

    What belongs to no one file (a codec's fit, mixtures, shards of features) is shared out by the
    length of the excerpts.

    Args:
        rows: of `storage.queries.pilot_rows`.
        excerpts: path of an excerpt → its stratum, the row of the file that it is of, and what
            `tasks.excerpt.excerpt` says of it.
        workspace: of the pilot.
    """
    by_uri: dict[str, list[Mapping[str, Any]]] = {uri: [] for uri in excerpts}
    common: dict[str, float] = {}
    for row in rows:
        if row["uri"] in by_uri:
            by_uri[row["uri"]].append(row)
        elif row["stage"]:
            common[row["stage"]] = common.get(row["stage"], 0.0) + row["worker_s"]
    shelf = Shelf(workspace)
    own_bytes = {uri: _stored(shelf, found) for uri, found in by_uri.items()}
    stored = sum(p.stat().st_size for p in workspace.root.rglob("*") if p.is_file())
    working = sum(p.stat().st_size for p in (workspace.root / "scratch").rglob("*") if p.is_file())
    shared = max(0.0, stored - working - sum(own_bytes.values()))
    total_s = sum(cut["excerpt_s"] for _, _, cut in excerpts.values()) or 1.0
    found = []
    for uri, (stratum, file, cut) in excerpts.items():
        reason = next((row["reason"] for row in by_uri[uri] if row["reason"]), "")
        if reason:
            found.append(Tried(stratum, file["size_bytes"], reason=reason))
            continue
        share = cut["excerpt_s"] / total_s
        worker_s = {row["stage"]: row["worker_s"] for row in by_uri[uri] if row["stage"]}
        for stage, seconds in common.items():
            worker_s[stage] = worker_s.get(stage, 0.0) + share * seconds
        kinds = {(r["kind"], r["kept"]): r["seconds"] for r in by_uri[uri] if r["kind"]}
        found.append(
            Tried(
                stratum,
                file["size_bytes"],
                cut["duration_s"] or cut["excerpt_s"],
                cut["excerpt_s"],
                worker_s,
                own_bytes[uri] + share * shared,
                kinds,
            )
        )
    return found


def _stored(shelf: Shelf, rows: Sequence[Mapping[str, Any]]) -> float:
    refs = [ref for row in rows for ref in row["refs"] or () if ref]
    return float(sum(shelf.size_bytes(ref) or 0 for ref in refs))
