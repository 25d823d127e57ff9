"""A checkpoint's card to read: what it was trained on, under which licences, how well, what not.

It stands beside the weights as README.md, made from what the checkpoint and the catalog know. It is
written after training and again after evaluation; it names no machine's paths.
"""

from collections.abc import Sequence
from typing import Any

from storage.workspace import Workspace
from tasks.scores import BESIDE, side_by_side

README = "README.md"
Row = dict[str, Any]

DATA_COLUMN = """(
    SELECT list(struct_pack(task, split, members, hours, sources, licences) ORDER BY task, split)
    FROM dataset_cards dc WHERE dc.dataset_id = d.dataset_id
)"""
"""SQL for what `model_card` tells of the data, beside a dataset `d`."""

LIMITS = (
    "It was trained on the data above alone and knows no other voices, languages, sounds or films.",
    "Its sound is generated: it is no record of what happened before the camera. Say so where it "
    "is heard.",
    "Speech comes in the voices of its data; using it to imitate a person needs that person's "
    "consent.",
    "The codec bounds its quality: what encoding and decoding lose, no model brings back.",
    "A licence above that asks for attribution, or bars a use, holds for what is made with the "
    "data; look at table `sources` for whom to name.",
)


def write_card(
    workspace: Workspace,
    ref: str,
    checkpoint_id: str,
    card: Row,
    data: Sequence[Row],
    scores: Sequence[Row] = (),
    absent: Sequence[str] = (),
) -> None:
    """Writes the card of a checkpoint beside its weights."""
    text = model_card(checkpoint_id, card, data, scores, absent)
    workspace.write(f"{ref}/{README}", text.encode())


def model_card(
    checkpoint_id: str,
    card: Row,
    data: Sequence[Row],
    scores: Sequence[Row] = (),
    absent: Sequence[str] = (),
) -> str:
    """The card as Markdown.

    Args:
        checkpoint_id: of the model.
        card: the checkpoint's own JSON.
        data: rows of DATA_COLUMN.
        scores: rows of `evaluations`; none before the model was evaluated.
        absent: why scores are missing, one sentence each.
    """
    return (
        "\n\n".join(
            [
                f"# Model {checkpoint_id[:12]}",
                "Gives silent video its sound: a flow-matching transformer over audio latents, "
                "trained by talkies.",
                _model(checkpoint_id, card),
                _data(card, data),
                _training(card),
                _scores(scores, absent),
                "## Limits\n\n" + "\n".join(f"- {limit}" for limit in LIMITS),
            ]
        )
        + "\n"
    )


def _model(checkpoint_id: str, card: Row) -> str:
    sizes, train = card.get("model", {}), card.get("train", {})
    facts = {
        "checkpoint": checkpoint_id,
        "preset": train.get("preset"),
        "layers and width": f"{sizes.get('layers')} of {sizes.get('width')}",
        "audio": f"{sizes.get('audio_channels')} latent channels at 25 Hz",
        "weights": f"`model.safetensors`, sha256 {card.get('sha256', {}).get('model.safetensors')}",
        "codec": f"`codec.safetensors`, sha256 {card.get('sha256', {}).get('codec.safetensors')}",
        "phoneme table": card.get("phoneme_table"),
        "voices": _voices(card),
        "rounded to float16 from": card.get("rounded_from"),
    }
    return "## Model\n\n" + _list(facts)


def _voices(card: Row) -> str | None:
    """Which voices it can be asked for; None where it was not told who speaks."""
    if "voices" not in card:
        return None
    return ", ".join(["that of a recording", *(f"`{name}`" for name in card["voices"]["names"])])


def _data(card: Row, data: Sequence[Row]) -> str:
    known = "dataset" in card
    named = f"Dataset {card['dataset']} (`{card['dataset_id']}`)." if known else "Not recorded."
    head = f"## Data\n\n{named}"
    if not data:
        return f"{head} The catalog has no members of it."
    licences = sorted({licence for row in data for licence in row["licences"] or []})
    table = _table(
        ("task", "split", "clips", "hours", "sources", "licences"),
        [
            (
                row["task"],
                row["split"],
                row["members"],
                f"{row['hours']:.3g}",
                row["sources"],
                ", ".join(row["licences"] or []),
            )
            for row in data
        ],
    )
    unclear = " Some sources state no licence: clear their rights before you publish."
    return f"{head}\n\n{table}\n\nLicences: {', '.join(licences)}." + (
        unclear if {"none", "unknown"} & set(licences) else ""
    )


def _training(card: Row) -> str:
    if (train := card.get("train")) is None:
        return "## Training\n\nNot recorded."
    taught = train.get("few_steps")
    facts = {
        "steps": f"{train.get('joint_steps')} joint, {train.get('mixture_steps')} on mixtures"
        + (f", then {taught} of a second network for generation in few steps" if taught else ""),
        "batch": f"{train.get('batch_size')} clips of up to {train.get('crop_s')} s",
        "processes": train.get("ranks"),
        "precision": train.get("precision"),
        "device": card.get("device"),
        "seed": train.get("seed"),
        "training loss": f"{_number(card.get('first_loss'))} in the first tenth, "
        f"{_number(card.get('last_loss'))} in the last",
    }
    if init := card.get("init"):
        facts["began with"] = (
            f"weights of sha256 {init['sha256']}: {len(init['taken'])} taken, "
            f"{len(init['left'])} left at random"
        )
    warnings = "".join(f"\n\n**Warning:** {line}." for line in card.get("warnings", ()))
    return f"## Training\n\n{_list(facts)}\n\nAll settings are in `config.json`.{warnings}"


def _scores(scores: Sequence[Row], absent: Sequence[str]) -> str:
    if not scores:
        return "## Metrics\n\nNot evaluated yet: `talkies evaluate` measures it on held-out items."
    table = _table(
        ("metric", "task", "split", "value", "95 % interval", *BESIDE, "items"),
        [
            (
                row["metric"],
                row["task"],
                row["split"],
                f"{_number(row['value'])} {row['unit']}".strip(),
                f"{_number(row['low'])} to {_number(row['high'])}",
                *("" if row[role] is None else _number(row[role]) for role in BESIDE),
                row["items"],
            )
            for row in side_by_side(scores)
        ],
    )
    missing = "".join(f"\n- {why}" for why in absent)
    return (
        f"## Metrics\n\nOn held-out items.\n\n{table}\n\n`codec_…` is what the codec alone loses. "
        "Truth is the recording itself, ceiling the same through the codec, control what a score "
        "is without the right conditions; that of the loss is a model that predicts nothing."
    ) + (f"\n\nMissing:\n{missing}" if missing else "")


def _list(facts: Row) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value is not None)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
