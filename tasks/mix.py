"""Mix speech with ambience at a requested level: the recipe is the sample.

`mix_items` chooses partners, `mix_plan` draws the recipe of a mixture and `mix_render` makes its
sound; `mix_id` is the hash of the recipe, and rendering it again gives the same samples. A row says
what was asked, what was measured, and the hash of the samples, whether or not they are stored.
"""

import importlib.metadata
import json
from dataclasses import asdict
from typing import Any

from storage.blobs import Blobs, ref_of
from storage.ids import canonical_json, mix_id
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.media import read_audio
from tasks.mix_items import ITEMS
from tasks.mix_plan import RECIPE_VERSION, MixConfig, Recipe, plan_recipe
from tasks.mix_render import Measures, Rendered, flac_bytes, named, render
from tasks.room_response import load_response

RENDERED_WITH = ("numpy", "scipy", "numba", "soxr", "audiomentations")


def mix_shard(shard: ShardRef, out: ShardTarget, config: MixConfig) -> ShardResult:
    """Plans and renders the mixtures of a shard; stores what `config.keep` says as FLAC."""

    def mix(item: dict[str, Any]) -> Rows:
        recipe = plan_recipe(item, config)
        done = render_parents(out.workspace, recipe, config.max_ambience_gain_db)
        require_levels(done.measures, recipe, config)
        row = row_of(item, recipe, done) | stored_refs(out.workspace, recipe, done, config)
        return {"mixtures": [row]}

    return run_items(shard, out, mix)


def render_parents(
    workspace_root: str, recipe: Recipe, max_ambience_gain_db: float = 1e9
) -> Rendered:
    """The mixture of a recipe, from the workspace's own sounds by their content hashes.

    Raises FileNotFoundError where one of them is not in the workspace, and Rejected as `render`.
    """
    rate_hz = recipe["rate_hz"]
    speech, ambience = (
        recipe[parent]
        and read_audio(
            workspace_root,
            ref_of(recipe[parent]["audio_sha256"], ".flac"),
            recipe[parent]["start_s"],
            recipe[parent]["end_s"],
            rate_hz,
        )
        for parent in ("speech", "ambience")
    )
    room = recipe["speech"] and recipe["speech"]["room"]
    response = None
    if room:
        response = load_response(workspace_root, ref_of(room["response_sha256"], ".flac"), rate_hz)
    return render(recipe, speech, ambience, response, max_ambience_gain_db)


def render_again(workspace_root: str, row: dict[str, Any]) -> Rendered:
    """The mixture of a row of `mixtures`, from its recipe alone.

    Raises Rejected("content_hash") where the samples are not those that the row was made of, as
    with other versions of the libraries, and FileNotFoundError where a parent is gone.
    """
    done = render_parents(workspace_root, json.loads(row["recipe"]))
    if done.sha256() != row["output_sha256"]:
        raise Rejected(
            "content_hash",
            f"mixture {row['mix_id']}: its samples are not those of its row, which was rendered by "
            f"{row['rendered_by']}; this is {rendered_by()}; build again",
        )
    return done


def row_of(item: dict[str, Any], recipe: Recipe, done: Rendered) -> dict[str, Any]:
    """The row of `mixtures`, without references."""
    speech, ambience = recipe["speech"], recipe["ambience"]
    room = speech and speech["room"]
    ducking = ambience and ambience["ducking"]
    return {
        "mix_id": mix_id(recipe),
        "item_id": item["item_id"],
        "speech_clip_id": speech and speech["clip_id"],
        "ambience_clip_id": ambience and ambience["clip_id"],
        "regime": recipe["regime"],
        "mode": recipe["mode"],
        "requested_snr_db": recipe["requested"]["snr_db"],
        "requested_difference_lu": recipe["requested"]["loudness_difference_lu"],
        **asdict(done.measures),
        "duration_s": recipe["duration_s"],
        "speech_at_s": speech and speech["at_s"],
        "room_id": room and room["room_id"],
        "t60_s": room and room["t60_s"],
        "ducking_db": ducking and ducking["depth_db"],
        "devices": [
            f"{parent}:{device['kind']}"
            for parent in ("speech", "ambience")
            if recipe[parent]
            for device in recipe[parent]["devices"]
        ],
        "split": item["split"],
        "output_sha256": done.sha256(),
        "rendered_by": rendered_by(),
        "recipe": canonical_json(recipe),
    }


def rendered_by() -> str:
    """The versions that decide the samples of a recipe."""
    versions = (f"{name} {importlib.metadata.version(name)}" for name in RENDERED_WITH)
    return f"recipe {RECIPE_VERSION}; " + "; ".join(versions)


def stored_refs(
    workspace_root: str, recipe: Recipe, done: Rendered, config: MixConfig
) -> dict[str, str | None]:
    """References to the FLAC files of a mixture, None for what is not kept or not in it."""
    stems = config.keep == "stems"
    kept = {
        "mix_ref": done.mix if config.keep != "recipe" else None,
        "speech_ref": done.speech_stem if stems and recipe["speech"] else None,
        "dry_ref": done.dry_stem if stems else None,
        "ambience_ref": done.ambience_stem if stems and recipe["ambience"] else None,
    }
    blobs, rate_hz = Blobs(workspace_root), recipe["rate_hz"]
    return {
        name: None if audio is None else blobs.put_bytes(flac_bytes(audio, rate_hz), ".flac")
        for name, audio in kept.items()
    }


def require_levels(measures: Measures, recipe: Recipe, config: MixConfig) -> None:
    """Raises Rejected("level_off") where a measured level is not what was asked for."""
    asked, master = recipe["requested"], recipe["master"]
    checks = (
        ("SNR (dB)", measures.achieved_snr_db, asked["snr_db"], config.tolerance_db),
        (
            "loudness difference (LU)",
            measures.achieved_difference_lu,
            asked["loudness_difference_lu"],
            config.tolerance_db,
        ),
        (
            "loudness (LUFS)",
            measures.loudness_lufs,
            master["loudness_lufs"],
            config.loudness_tolerance_lu,
        ),
    )
    wrong = [
        f"{name} is {value} and {wanted:.2f} was asked, tolerance {tolerance:g}"
        for name, value, wanted, tolerance in checks
        if wanted is not None and not (value is not None and abs(value - wanted) <= tolerance)
    ]
    if measures.true_peak_dbtp > master["true_peak_dbtp"]:
        wrong.append(f"the true peak is {measures.true_peak_dbtp:.2f} dBTP")
    if wrong:
        raise Rejected(
            "level_off",
            f"{named(recipe)}: " + "; ".join(wrong),
            {"requested": asked, **asdict(measures)},
        )


STAGE = Stage(
    name="mix",
    title="mix speech and ambience",
    version=2,
    config=MixConfig,
    items=ITEMS,
    outputs=(Output("mixtures", key="item_id"),),
    run=mix_shard,
    shard_s=1_800.0,
    selects=("licences",),
)
