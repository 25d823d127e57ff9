"""What the commands ask of the catalog: rows for people, and what a name stands for."""

from typing import Any

from storage.catalog import Catalog
from storage.imported import IMPORTED, SHIPPED_DATA
from storage.schema import TABLES, VIEWS
from storage.versions import ASKED, PLACE

Rows = list[dict[str, Any]]


class UnknownName(ValueError):
    """A dataset or checkpoint that the catalog does not hold, or a start that several share."""


def table_counts(catalog: Catalog) -> Rows:
    """Each view and table with its number of rows and its meaning."""
    return [
        {
            "table": name,
            "rows": catalog.value(f"SELECT count(*) FROM lake.{name}"),
            "kind": "view" if name in VIEWS else "table",
            "meaning": (VIEWS.get(name) or TABLES[name]).text,
        }
        for name in (*VIEWS, *TABLES)
    ]


def rejects(catalog: Catalog, reason: str | None = None) -> Rows:
    """The items that were left out, and why; of one reason code, or all."""
    return catalog.rows(
        "SELECT stage, reason, message, item_id FROM rejects "
        "WHERE $reason IS NULL OR reason = $reason ORDER BY stage, reason, item_id",
        {"reason": reason},
    )


def reject_count(catalog: Catalog) -> int:
    """How many items are left out."""
    return int(catalog.value("SELECT count(*) FROM rejects"))


def freezes(catalog: Catalog) -> set[tuple[str, int]]:
    """The id of each dataset version, and its place among the freezes of its name."""
    rows = catalog.rows(f"SELECT dataset_id, {PLACE} AS place FROM datasets d")
    return {(row["dataset_id"], row["place"]) for row in rows}


def dataset_versions(catalog: Catalog) -> Rows:
    """The dataset versions with their sizes and the snapshots that they pin."""
    return catalog.rows(
        "SELECT name, version, catalog_snapshot, train_items, validation_items, test_items, "
        "round(hours * 60, 2) AS minutes, digest FROM datasets ORDER BY name, version"
    )


def stored_recipe(catalog: Catalog, name: str) -> str:
    """The recipe that froze NAME, its newest version, or NAME@VERSION; raises UnknownName.

    It is canonical JSON.
    """
    asked = {"dataset": name}
    found = catalog.value(
        f"SELECT r.recipe FROM datasets d JOIN runs r USING (run_id) WHERE {ASKED} "
        f"ORDER BY {PLACE} DESC LIMIT 1",
        asked,
    )
    if found is not None:
        return str(found)
    known = catalog.rows(
        "SELECT DISTINCT CASE WHEN contains($dataset, '@') THEN name || '@' || version "
        "ELSE name END AS name FROM datasets WHERE NOT starts_with(name, $imported) ORDER BY ALL",
        asked | {"imported": IMPORTED},
    )
    names = ", ".join(row["name"] for row in known) or "none"
    raise UnknownName(f"there is no dataset {name}, build it first; there are: {names}")


def film_recipes(catalog: Catalog, checkpoint: str) -> tuple[str, str, bool]:
    """The recipe of a model, the workspace's own, and whether the model was trained here.

    Of a model that was trained here the first is that of the very version of its dataset, and the
    second that of the newest. The first came with an imported one; the second then is that of the
    newest dataset that was built here, or empty.
    """
    name, _ = dataset_of(catalog, checkpoint)
    if not name.startswith(IMPORTED):
        theirs = catalog.value(
            "SELECT r.recipe FROM checkpoints c JOIN datasets d USING (dataset_id) "
            "JOIN runs r ON r.run_id = d.run_id WHERE c.checkpoint_id = ?",
            [checkpoint],
        )
        return str(theirs), stored_recipe(catalog, name), True
    came = catalog.value(
        "SELECT r.recipe FROM checkpoints JOIN runs r USING (run_id) WHERE checkpoint_id = ?",
        [checkpoint],
    )
    own = catalog.value(
        "SELECT r.recipe FROM datasets d JOIN runs r USING (run_id) "
        "WHERE NOT starts_with(d.name, ?) ORDER BY d.run_id DESC LIMIT 1",
        [IMPORTED],
    )
    return str(came), str(own or ""), False


SOURCES_TOLD = """
    SELECT coalesce(ds.licence, 'none') AS licence, ds.attribution, ds.consent,
           count(DISTINCT ds.source_id) AS sources
    FROM dataset_sources ds
    WHERE ds.dataset_id = {dataset} AND ds.source_id IS NOT NULL GROUP BY ALL
"""
"""SQL for whom to name for the sources of a dataset, and what licence and consent there is."""
SOURCES_ORDER = "sources DESC, licence, attribution, consent"


def model_facts(catalog: Catalog, checkpoint: str) -> dict[str, Any]:
    """What the catalog knows of a model: row, dataset, members, sources, scores, recipe, run."""
    (row,) = catalog.rows("SELECT * FROM checkpoints WHERE checkpoint_id = ?", [checkpoint])
    (dataset,) = catalog.rows("SELECT * FROM datasets WHERE dataset_id = ?", [row["dataset_id"]])
    trained = catalog.rows(
        "SELECT code_commit, versions FROM runs WHERE run_id = ?", [row["run_id"]]
    )
    return {
        "checkpoint": row,
        "dataset": dataset,
        "recipe": catalog.value("SELECT recipe FROM runs WHERE run_id = ?", [dataset["run_id"]]),
        "data": catalog.rows(
            "SELECT task, split, members, hours, sources, licences FROM dataset_cards "
            "WHERE dataset_id = ? ORDER BY task, split",
            [row["dataset_id"]],
        ),
        "sources": catalog.rows(
            f"{SOURCES_TOLD.format(dataset='?')} ORDER BY {SOURCES_ORDER}",
            [row["dataset_id"]],
        ),
        "evaluations": catalog.rows(
            "SELECT * FROM evaluations WHERE checkpoint_id = ? ORDER BY ALL", [checkpoint]
        ),
        "trained": trained[0] if trained else None,
    }


def codecs(catalog: Catalog) -> list[dict[str, Any]]:
    """The codecs that latents are made with."""
    return catalog.rows(
        "SELECT codec_id, name, channels, latent_hz, fitted_clips, ref FROM codecs ORDER BY name"
    )


def checkpoint_id(catalog: Catalog, start: str = "") -> str:
    """The one checkpoint id that begins so; the newest for an empty start.

    One that was trained elsewhere is the newest only where none was trained here, and one that came
    with talkies only where there is no other. Raises UnknownName where none begins so, or several
    do.
    """
    found = catalog.rows(
        "SELECT c.checkpoint_id FROM checkpoints c LEFT JOIN datasets d USING (dataset_id) "
        "WHERE starts_with(c.checkpoint_id, ?) "
        "ORDER BY coalesce(d.name, '') = ?, starts_with(coalesce(d.name, ''), ?), c.run_id DESC",
        [start, SHIPPED_DATA, IMPORTED],
    )
    if not found:
        what = f"no checkpoint begins with {start!r}" if start else "there is no checkpoint"
        raise UnknownName(f"{what}; run `talkies train` first")
    if start and len(found) > 1:
        raise UnknownName(f"{len(found)} checkpoints begin with {start!r}; give more of the id")
    return str(found[0]["checkpoint_id"])


def has_own_checkpoints(catalog: Catalog) -> bool:
    """Whether there is a model that did not come with talkies."""
    return bool(
        catalog.value(
            "SELECT count(*) FROM checkpoints LEFT JOIN datasets d USING (dataset_id) "
            "WHERE d.name IS DISTINCT FROM ?",
            [SHIPPED_DATA],
        )
    )


def dataset_of(catalog: Catalog, checkpoint: str) -> tuple[str, int]:
    """Name and version of the dataset that a checkpoint was trained on."""
    (row,) = catalog.rows(
        "SELECT name, version FROM datasets JOIN checkpoints USING (dataset_id) "
        "WHERE checkpoint_id = ?",
        [checkpoint],
    )
    return row["name"], row["version"]


def checkpoints_on(catalog: Catalog, dataset: str) -> Rows:
    """The checkpoints trained on any version of NAME, or on NAME@VERSION, oldest first."""
    return catalog.rows(
        "SELECT checkpoint_id, preset, parameters, steps, first_loss, last_loss "
        f"FROM checkpoints c JOIN datasets d USING (dataset_id) WHERE {ASKED} ORDER BY c.run_id",
        {"dataset": dataset},
    )


def evaluations_of(catalog: Catalog, checkpoint: str) -> Rows:
    """The scores of a checkpoint, each with the values that stand beside it."""
    return catalog.rows(
        """
        SELECT metric, task, split, any_value(value) FILTER (role = 'score') AS value,
               any_value(low) FILTER (role = 'score') AS low,
               any_value(high) FILTER (role = 'score') AS high,
               any_value(value) FILTER (role = 'truth') AS truth,
               any_value(value) FILTER (role = 'ceiling') AS ceiling,
               any_value(value) FILTER (role = 'control') AS control,
               any_value(items) FILTER (role = 'score') AS items, any_value(unit) AS unit
        FROM evaluations WHERE checkpoint_id = ?
        GROUP BY ALL HAVING count(*) FILTER (role = 'score') > 0 ORDER BY ALL
        """,
        [checkpoint],
    )


def soundtracks(catalog: Catalog, checkpoint: str, uris: list[str], takes: int) -> Rows:
    """The first takes that a checkpoint generated for some sources."""
    return catalog.rows(
        "SELECT s.uri AS source, g.take, g.file_ref AS film, g.duration_s, g.rtf, "
        "g.picture_untouched FROM generations g JOIN sources s USING (source_id) "
        "WHERE g.checkpoint_id = ? AND s.uri IN (SELECT unnest(?)) AND g.take <= ? ORDER BY ALL",
        [checkpoint, uris, takes],
    )


def stage_progress(catalog: Catalog) -> Rows:
    """What each stage has finished, and what it cost."""
    return catalog.rows("FROM stage_progress")


def pilot_rows(catalog: Catalog) -> Rows:
    """What each file of a pilot's workspace cost and gave: stage seconds, stored bytes, clips.

    Rows of (uri, stage, worker_s, kind, kept, seconds, refs, reason): a stage's seconds, the clips
    of a kind, the blobs of its decode, or why it was rejected; the other columns are NULL. A stage
    whose items belong to no one file has uri NULL.
    """
    return catalog.rows(
        """WITH owner AS (
               SELECT uri AS item_id, uri FROM files UNION ALL SELECT source_id, uri FROM files
               UNION ALL SELECT clip_id, uri FROM windows JOIN files USING (source_id))
           SELECT uri, stage, sum(wall_s) AS worker_s, NULL AS kind, NULL AS kept,
                  NULL::DOUBLE AS seconds, NULL::VARCHAR[] AS refs, NULL AS reason
           FROM progress LEFT JOIN owner USING (item_id) GROUP BY ALL
           UNION ALL
           SELECT uri, NULL, NULL, kind, kept, sum(duration_s), NULL, NULL
           FROM windows JOIN files USING (source_id) JOIN kinds USING (clip_id) GROUP BY ALL
           UNION ALL
           SELECT uri, NULL, NULL, NULL, NULL, NULL,
                  [audio48_ref, audio16_ref, frames10_ref, frames25_ref, colour25_ref], NULL
           FROM decodes JOIN files USING (source_id)
           UNION ALL
           SELECT coalesce(r.uri, item_id), NULL, NULL, NULL, NULL, NULL, NULL, reason
           FROM rejects AS r WHERE stage IN ('scan', 'probe', 'decode')"""
    )


def pending_ids(catalog: Catalog) -> set[str]:
    """The pending items of the stage that was planned last."""
    return {row["item_id"] for row in catalog.rows("SELECT item_id FROM keyed WHERE _pending")}
