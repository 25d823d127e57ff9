"""A checkpoint's card to read: what it was trained on, under which licences, how well, what not.

It stands beside the weights as README.md, made from what the checkpoint and the catalog know. It is
written after training and again after evaluation; it names no machine's paths.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.queries import SOURCES_ORDER, SOURCES_TOLD
from storage.workspace import Workspace
from tasks.metric_meanings import meaning_of
from tasks.scores import BESIDE, side_by_side
from tasks.world_content import RIGHTS

README = "README.md"
Row = dict[str, Any]

DATA_COLUMN = """(
    SELECT list(struct_pack(task, split, members, hours, sources, licences) ORDER BY task, split)
    FROM dataset_cards dc WHERE dc.dataset_id = d.dataset_id
)"""
"""SQL for the members of a dataset `d`, by task and split."""
SOURCES_COLUMN = f"""(
    SELECT list(struct_pack(licence, attribution, consent, sources) ORDER BY {SOURCES_ORDER})
    FROM ({SOURCES_TOLD.format(dataset="d.dataset_id")})
)"""
"""SQL for SOURCES_TOLD of a dataset `d`, as a list."""
MOST_NAMED = 200
"""Rows of sources in a card; an archive may have a name for each film."""
_, STAGED_BY, _ = RIGHTS

LIMITS = (
    "It was trained on the data above alone and knows no other voices, languages, sounds or films; "
    "what it began with, where it began with something, has a card of its own.",
    "Its sound is generated: it is no record of what happened before the camera. Say so where it "
    "is heard.",
    "Speech comes in the voices of its data; using it to imitate a person needs that person's "
    "consent.",
    "The codec bounds its quality: what encoding and decoding lose, no model brings back.",
    "A licence above that asks for attribution, or bars a use, holds for what is made with the "
    "data; name those who are named there.",
)
STAGED_LIMIT = (
    "Figures that were measured on staged clips speak of mechanism and software, not of natural "
    "films."
)
STAGED = (
    f"Sources by `{STAGED_BY}` were made by program: objects that move and strike by physics, with "
    "sounds synthesised to fit, and drawn faces whose mouths follow synthetic voices of flite, "
    "espeak-ng or hibari-tts. Nobody was filmed or recorded for them. Their test split has forms "
    "of sentences, and pairs of size and material, that are in no training clip."
)


@dataclass(frozen=True, slots=True)
class DataTold:
    """What a card tells beside what stands in the checkpoint.

    Attributes:
        members: rows of DATA_COLUMN.
        sources: rows of SOURCES_COLUMN.
        trained: commit and versions of the run that trained the model, where they are told.
        was_rounded: whether its weights were rounded after it was measured.
    """

    members: Sequence[Row] = ()
    sources: Sequence[Row] = ()
    trained: Row | None = None
    was_rounded: bool = False

    @classmethod
    def of(cls, item: Row) -> "DataTold":
        """From an item of a stage, with DATA_COLUMN as `_data` and SOURCES_COLUMN as `_sources`."""
        return cls(item.get("_data") or (), item.get("_sources") or ())

    @property
    def has_staged(self) -> bool:
        """Whether some of the sources were made by program."""
        return any(row["attribution"] == STAGED_BY for row in self.sources)


def write_card(
    workspace: Workspace,
    ref: str,
    checkpoint_id: str,
    card: Row,
    data: DataTold,
    scores: Sequence[Row] = (),
    absent: Sequence[str] = (),
) -> None:
    """Writes the card of a checkpoint beside its weights."""
    text = model_card(checkpoint_id, card, data, scores, absent)
    workspace.write(f"{ref}/{README}", text.encode())


def model_card(
    checkpoint_id: str,
    card: Row,
    data: DataTold,
    scores: Sequence[Row] = (),
    absent: Sequence[str] = (),
) -> str:
    """The card as Markdown.

    Args:
        checkpoint_id: of the model.
        card: the checkpoint's own JSON.
        data: what is told of its data and making.
        scores: rows of `evaluations`; none before the model was evaluated.
        absent: why scores are missing, one sentence each.
    """
    limits = (*LIMITS, STAGED_LIMIT) if data.has_staged else LIMITS
    return (
        "\n\n".join(
            [
                f"# Model {checkpoint_id[:12]}",
                "Gives silent video its sound: a flow-matching transformer over audio latents, "
                "trained by talkies.",
                "`talkies sonify FILM --out FOLDER --model "
                f"{checkpoint_id[:12]}` does so where the workspace has it; `talkies model import` "
                "brings its folder into one.",
                _model(checkpoint_id, card),
                _data(card, data),
                _training(card, data.trained),
                _scores(scores, absent, data.was_rounded),
                "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits),
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


def _data(card: Row, data: DataTold) -> str:
    known = "dataset" in card
    named = f"Dataset {card['dataset']} (`{card['dataset_id']}`)." if known else "Not recorded."
    head = f"## Data\n\n{named}"
    if not data.members:
        return f"{head} The catalog has no members of it."
    licences = sorted({licence for row in data.members for licence in row["licences"] or []})
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
            for row in data.members
        ],
    )
    unclear = " Some sources state no licence: clear their rights before you publish."
    told = f"{head}\n\n{table}\n\nLicences: {', '.join(licences)}." + (
        unclear if {"none", "unknown"} & set(licences) else ""
    )
    named = f"\n\nWhom to name:\n\n{_sources(data.sources)}" if data.sources else ""
    return f"{told}{named}" + (f"\n\n{STAGED}" if data.has_staged else "")


def _sources(sources: Sequence[Row]) -> str:
    """Whom to name for the sources, those of most sources first."""
    rows = [
        (
            row["attribution"] or "nobody is named",
            row["licence"],
            (row["consent"] or "unknown").replace("_", " "),
            row["sources"],
        )
        for row in sources[:MOST_NAMED]
    ]
    table = _table(("by", "licence", "consent of", "sources"), rows)
    if left := sources[MOST_NAMED:]:
        table += f"\n\nand {len(left)} more, whom table `sources` of the catalog names."
    return table


def _training(card: Row, trained: Row | None) -> str:
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
        model = f"model {init['checkpoint']}, " if "checkpoint" in init else ""
        facts["began with"] = (
            f"{model}weights of sha256 {init['sha256']}: {len(init['taken'])} taken, "
            f"{len(init['left'])} left at random"
        )
    if trained:
        versions = json.loads(trained["versions"] or "{}")
        facts["trained by"] = f"talkies at commit {trained['code_commit']}"
        facts["versions"] = ", ".join(f"{name} {value}" for name, value in versions.items())
    warnings = "".join(f"\n\n**Warning:** {line}." for line in card.get("warnings", ()))
    looks = " How it looks at films is in `package.json`." if trained else ""
    return f"## Training\n\n{_list(facts)}\n\nAll settings are in `config.json`.{looks}{warnings}"


def _scores(scores: Sequence[Row], absent: Sequence[str], was_rounded: bool) -> str:
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
    rounded = " Measured before the weights were rounded to float16." * was_rounded
    parts = [
        f"## Metrics\n\nOn held-out items.{rounded}",
        table,
        "`codec_…` is what the codec alone loses. Truth is the recording itself, ceiling the same "
        "through the codec, control what a score is without the right conditions; that of the loss "
        "is a model that predicts nothing.",
        _meanings(scores),
    ]
    if absent:
        parts.append("Missing:\n\n" + "\n".join(f"- {why}" for why in absent))
    return "\n\n".join(part for part in parts if part)


def _meanings(scores: Sequence[Row]) -> str:
    """What the metrics that were measured mean, a line each."""
    metrics = dict.fromkeys(row["metric"] for row in scores)
    return "\n".join(
        f"- `{metric}`: {meaning}" for metric in metrics if (meaning := meaning_of(metric))
    )


def _list(facts: Row) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value is not None)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
