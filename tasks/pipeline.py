"""The stages of the pipeline in their order."""

from storage.stage import Stage
from tasks import (
    clips,
    decode,
    encode,
    evaluate,
    faces,
    fingerprint,
    fit_codec,
    label,
    listen,
    look,
    look_mixtures,
    match,
    mix,
    phonemize,
    probe,
    relate,
    rooms,
    scan,
    snapshot,
    sonify,
    speaker,
    split,
    sync,
    train,
    transcribe,
    truth,
    voice,
    watch,
)
from tasks.clip_encoders import NONE

INGEST: tuple[Stage, ...] = (
    scan.STAGE,
    probe.STAGE,
    truth.STAGE,
    decode.STAGE,
    voice.STAGE,
    clips.STAGE,
)
LABELS: tuple[Stage, ...] = (
    listen.STAGE,
    speaker.STAGE,
    transcribe.STAGE,
    phonemize.STAGE,
    look.STAGE,
    watch.STAGE,
    faces.STAGE,
    sync.STAGE,
    fingerprint.STAGE,
    match.STAGE,
    relate.STAGE,
    split.STAGE,
    label.STAGE,
)
CODEC: tuple[Stage, ...] = (*INGEST, *LABELS, fit_codec.STAGE)
DATASET: tuple[Stage, ...] = (
    fit_codec.STAGE,
    rooms.STAGE,
    mix.STAGE,
    look_mixtures.STAGE,
    encode.STAGE,
    snapshot.STAGE,
)
BUILD: tuple[Stage, ...] = (*INGEST, *LABELS, *DATASET)
TRAIN: tuple[Stage, ...] = (train.STAGE,)
EVALUATE: tuple[Stage, ...] = (evaluate.STAGE,)
SONIFY: tuple[Stage, ...] = (sonify.STAGE,)
FILMS: tuple[Stage, ...] = (*INGEST, look.STAGE, watch.STAGE, *SONIFY)
FILMS_WITH_LIPS: tuple[Stage, ...] = (*INGEST, look.STAGE, watch.STAGE, faces.STAGE, *SONIFY)
ALL: tuple[Stage, ...] = (*BUILD, *TRAIN, *EVALUATE, *SONIFY)
STAGES: dict[str, Stage] = {stage.name: stage for stage in ALL}


def film_stages(lips: str) -> tuple[Stage, ...]:
    """What gives films a soundtrack; faces are followed only where `faces.lips` reads them."""
    return FILMS if lips == NONE else FILMS_WITH_LIPS
