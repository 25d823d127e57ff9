"""Soundtracks: as long as the picture, the same for the same seed, beside an untouched picture."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch

from models.durations import DurationPredictor
from models.shortcut import ShortcutFlow
from models.speaker import VoiceTable
from models.timeline import count
from models.transformer import seeded
from storage.catalog import Catalog
from storage.features import pack_features
from storage.ids import hash_of, sha256_file
from storage.rejects import Rejected
from storage.stage import ShardTarget
from storage.workspace import Workspace
from tasks import soundtrack as module
from tasks.checkpoint import Checkpoint, Extras, save_checkpoint
from tasks.durations import predicted_s
from tasks.mark import read_mark
from tasks.sandbox import close_zygotes
from tasks.sonify import STAGE, sonify, spoken_phonemes
from tasks.sonify_config import SonifyConfig, Target
from tasks.source_uri import inside_uri, uri_of
from tests.made_archives import write_tar
from tests.made_media import even_times, write_media
from tests.made_model import MOTION_DIM, VISUAL_DIM, made_checkpoint, tiny_codec, tiny_sizes

DURATION_S = 2.6
CONFIG = SonifyConfig(steps=2, guidance=1.0)


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sonify")


@pytest.fixture(scope="module")
def film(root: Path) -> dict[str, Any]:
    """The item of a silent film at 24 fps, in two windows, with made features."""
    checkpoint_id, ref = made_checkpoint(root, root / "scratch" / "made")
    path = write_media(root / "a film's.mp4", even_times(24, DURATION_S + 1e-6))
    windows = []
    for number, (start_s, end_s) in enumerate(((0.0, 1.3), (1.3, DURATION_S))):
        rng = np.random.default_rng(number)
        sizes = {"visual": (10.0, VISUAL_DIM), "motion": (25.0, MOTION_DIM)}
        packed = pack_features(
            root,
            [
                {
                    "clip_id": f"clip-{number}",
                    "extractor": name,
                    "version": 1,
                    "_array": rng.normal(size=(count(end_s - start_s, rate), size)),
                }
                for name, (rate, size) in sizes.items()
            ],
        )
        kept = ("shard_ref", "content_hash")
        references = {row["extractor"]: {name: row[name] for name in kept} for row in packed}
        window = {"clip_id": f"clip-{number}", "start_s": start_s, "end_s": end_s, "held_s": 0.0}
        windows.append(window | references)
    return {
        "item_id": "made",
        "source_id": sha256_file(path),
        "checkpoint_id": checkpoint_id,
        "ref": ref,
        "take": 1,
        "script": "",
        "duration_s": DURATION_S,
        "windows": windows,
        "phonemes": None,
        "text": None,
        "_uri": str(path),
    }


def make(root: Path, item: dict[str, Any], config: SonifyConfig = CONFIG) -> dict[str, Any]:
    folder = Workspace.at(root).scratch("out")
    (row,) = sonify(item, ShardTarget(str(root), str(folder)), config)["generations"]
    return row


@pytest.fixture(scope="module")
def made(root: Path, film: dict[str, Any]) -> dict[str, Any]:
    return make(root, film)


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0])]


def test_the_soundtrack_is_as_long_as_the_picture_within_a_frame(
    root: Path, made: dict[str, Any]
) -> None:
    assert made["duration_s"] == pytest.approx(DURATION_S, abs=1 / 24)
    assert made["video_s"] == pytest.approx(DURATION_S, abs=1 / 24)
    with av.open(str(root / made["file_ref"])) as container:
        audio = container.streams.audio[0]
        assert audio.duration is not None and audio.time_base is not None
        assert float(audio.duration * audio.time_base) == pytest.approx(DURATION_S, abs=1 / 24)


def test_the_picture_is_copied_untouched(
    root: Path, film: dict[str, Any], made: dict[str, Any]
) -> None:
    assert made["picture_untouched"]
    assert packets(root / made["file_ref"]) == packets(Path(film["_uri"]))


def test_the_film_is_marked_with_the_model_and_the_seed_of_its_row(
    root: Path, made: dict[str, Any]
) -> None:
    mark = read_mark(root / made["file_ref"])
    assert mark["digital_source_type"] == "trainedAlgorithmicMedia"
    assert mark["model_id"] == made["checkpoint_id"]
    assert mark["seed"] == str(made["seed"])
    assert made["output_hash"] == sha256_file(root / made["file_ref"])


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    root: Path, film: dict[str, Any], made: dict[str, Any]
) -> None:
    again = make(root, film)
    assert {k: v for k, v in again.items() if k != "rtf"} == {
        k: v for k, v in made.items() if k != "rtf"
    }
    other = make(root, film, SonifyConfig(steps=2, guidance=1.0, seed=1))
    take = make(root, film | {"take": 2})
    assert len({row["audio_ref"] for row in (made, other, take)}) == 3
    assert len({row["generation_id"] for row in (made, other, take)}) == 3


def test_a_solver_a_speech_scale_or_a_temperature_of_its_own_makes_another_soundtrack(
    root: Path, film: dict[str, Any], made: dict[str, Any]
) -> None:
    solver = make(root, film, dataclasses.replace(CONFIG, solver="dopri5", tolerance=1e-2))
    speech = make(root, film, dataclasses.replace(CONFIG, speech_guidance=4.0))
    cool = make(root, film, dataclasses.replace(CONFIG, temperature=0.5))
    assert len({row["audio_ref"] for row in (made, solver, speech, cool)}) == 4
    assert len({row["generation_id"] for row in (made, solver, speech, cool)}) == 4


def test_few_steps_are_those_of_the_models_second_network(root: Path, film: dict[str, Any]) -> None:
    model, taught = (seeded(tiny_sizes(), seed) for seed in (0, 5))
    both = Checkpoint("c", model, tiny_codec(), {}, Extras(few_steps=ShortcutFlow(taught)))
    quick = dataclasses.replace(CONFIG, solver="few_steps")

    def window(checkpoint: Checkpoint, config: SonifyConfig) -> np.ndarray:
        item = film | {"_workspace": str(root)}
        return module.generate_window(item, film["windows"][0], checkpoint, [], config, 0)

    found = window(both, quick)
    # A new student is its teacher, here one of other weights than the model.
    np.testing.assert_array_equal(found, window(Checkpoint("c", taught, tiny_codec(), {}), CONFIG))
    assert not np.array_equal(found, window(both, CONFIG))
    np.testing.assert_array_equal(found, window(both, dataclasses.replace(quick, guidance=7.0)))
    assert not np.array_equal(found, window(both, dataclasses.replace(quick, temperature=0.5)))
    rounded = window(both, dataclasses.replace(quick, precision="bfloat16"))
    assert not np.array_equal(found, rounded) and np.isfinite(rounded).all()


def test_a_model_without_the_network_for_few_steps_is_an_error_that_names_the_setting(
    root: Path, film: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"sonify.solver=few_steps: .*train.few_steps"):
        make(root, film, dataclasses.replace(CONFIG, solver="few_steps"))


@pytest.mark.parametrize("steps", [25, 3, 32])
def test_steps_that_few_steps_cannot_take_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=rf"sonify.steps={steps}: .*set sonify.steps: 8"):
        SonifyConfig(solver="few_steps", steps=steps)


def test_settings_that_are_left_alone_keep_the_ids_of_before_they_came(
    film: dict[str, Any], made: dict[str, Any]
) -> None:
    parts = (film["source_id"], film["checkpoint_id"], film["script"], film["take"])
    settings = (CONFIG.steps, CONFIG.guidance, CONFIG.seed)
    assert made["generation_id"] == hash_of("generation", *parts, *settings)


def test_a_film_whose_name_is_not_utf_8_gets_its_soundtrack(
    root: Path, film: dict[str, Any], made: dict[str, Any]
) -> None:
    odd = Path(os.fsdecode(os.fsencode(root) + b"/\xff.mp4"))
    odd.write_bytes(Path(film["_uri"]).read_bytes())
    row = make(root, film | {"_uri": uri_of(odd)})
    assert row["audio_ref"] == made["audio_ref"]


def test_a_film_in_a_tar_gets_its_soundtrack_beside_the_same_picture(
    root: Path, film: dict[str, Any], made: dict[str, Any]
) -> None:
    data = Path(film["_uri"]).read_bytes()
    tar = write_tar(root / "scratch" / "films.tar", {"reels/my film.mp4": data})
    uri = inside_uri("tar", tar, "reels/my film.mp4")
    row = make(root, film | {"_uri": uri})
    assert row["picture_untouched"]
    assert packets(root / row["file_ref"]) == packets(Path(film["_uri"]))
    assert Path(row["file_ref"]).name.startswith("my_film-")


def test_the_sound_is_finite_and_under_its_peak(root: Path, made: dict[str, Any]) -> None:
    audio, rate_hz = soundfile.read(str(root / made["audio_ref"]))
    assert rate_hz == 16_000
    assert len(audio) == count(made["video_s"], 16_000)
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() <= 10 ** (module.PEAK_DBTP / 20) + 1e-3


def test_without_a_script_nothing_is_spoken(film: dict[str, Any]) -> None:
    assert spoken_phonemes(film) == []
    heard = film | {"phonemes": [{"phoneme": "s", "start_s": 0.0, "end_s": 0.1}]}
    assert spoken_phonemes(heard) == []
    assert spoken_phonemes(heard | {"script": "transcript"}) == heard["phonemes"]


def test_a_script_is_spoken_at_the_pace_that_the_model_has_learned(film: dict[str, Any]) -> None:
    told = film | {"script": "oh no", "duration_s": 60.0}
    stretched = spoken_phonemes(told)
    assert stretched[-1]["end_s"] == pytest.approx(60.0)
    torch.manual_seed(0)
    predictor = DurationPredictor().eval()
    spoken = spoken_phonemes(told, predictor)
    symbols = [row["phoneme"] for row in spoken]
    assert symbols == [row["phoneme"] for row in stretched]
    assert [row["start_s"] for row in spoken[:1]] == [0.0]
    lengths = [row["end_s"] - row["start_s"] for row in spoken]
    assert lengths == pytest.approx(predicted_s(symbols, predictor))


@pytest.mark.parametrize("script", ["transcript", "WEBVTT\n", "00:01:00,000 --> 00:01:01,000\nx"])
def test_a_script_without_a_word_in_the_film_is_a_reject(film: dict[str, Any], script: str) -> None:
    with pytest.raises(Rejected) as caught:
        spoken_phonemes(film | {"script": script})
    assert caught.value.reason in ("no_script", "no_phonemes")


def test_words_of_a_script_are_spoken_in_their_window(
    root: Path, film: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    grid = module.phonemes_on_grid

    def noted(phonemes: list[dict[str, Any]], duration_s: float) -> np.ndarray:
        seen.append([(p["phoneme"], p["start_s"], p["end_s"]) for p in phonemes])
        return grid(phonemes, duration_s)

    monkeypatch.setattr(module, "phonemes_on_grid", noted)
    phonemes = [
        {"phoneme": "s", "start_s": 0.1, "end_s": 0.2},
        {"phoneme": "t", "start_s": 1.2, "end_s": 1.4},
        {"phoneme": "p", "start_s": 2.5, "end_s": 2.6},
    ]
    make(root, film | {"script": "transcript", "phonemes": phonemes, "text": "s t p"})
    first, second = (
        [(name, round(start, 6), round(end, 6)) for name, start, end in window] for window in seen
    )
    assert first == [("s", 0.1, 0.2), ("t", 1.2, 1.3)]
    assert second == [("t", 0.0, 0.1), ("p", 1.2, 1.3)]


def test_a_voice_is_told_where_something_is_said_and_gives_another_id(
    root: Path, film: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    sampled = module.generated_latents

    def noted(checkpoint: Checkpoint, conditions: Any, *others: Any) -> torch.Tensor:
        seen.append(conditions.speaker)
        return sampled(checkpoint, conditions, *others)

    monkeypatch.setattr(module, "generated_latents", noted)
    table = VoiceTable(["anna"], 8)
    table.vectors += 0.5
    parts = Workspace.at(root), root / "scratch" / "voiced", seeded(tiny_sizes(), 0), tiny_codec()
    checkpoint_id, ref = save_checkpoint(*parts, {}, Extras(voices=table))
    said = [{"phoneme": "s", "start_s": 0.1, "end_s": 0.2}]
    told = {"checkpoint_id": checkpoint_id, "ref": ref, "script": "transcript", "phonemes": said}
    item = film | told | {"text": "s"}
    left, named = (make(root, item, c) for c in (CONFIG, dataclasses.replace(CONFIG, voice="Anna")))
    assert [voice is None or voice.tolist() for voice in seen] == [True, True, [[0.5] * 8], True]
    assert left["generation_id"] != named["generation_id"]


def test_over_what_was_trimmed_beside_a_window_its_first_and_last_frame_are_held(
    root: Path, film: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    collate = module.collate

    def noted(samples: list[dict[str, Any]], *sizes: Any) -> Any:
        seen.extend(samples)
        return collate(samples, *sizes)

    monkeypatch.setattr(module, "collate", noted)
    # The features of 1.3 s, of a window with 0.2 s trimmed before it and 0.5 s behind it.
    trimmed = film["windows"][0] | {"end_s": 2.0, "held_s": 0.2}
    make(root, film | {"windows": [film["windows"][0], trimmed]})
    whole, held = seen
    for name, before, after in (("visual", 2, 5), ("motion", 5, 12)):
        inside = whole[name][: len(held[name]) - before - after]
        edges = ((before, after), (0, 0))
        np.testing.assert_array_equal(held[name], np.pad(inside, edges, mode="edge"))
    assert len(held["visual"]) == 20
    # A film that was decoded without motion.
    nothing = {"motion": {"shard_ref": None, "content_hash": None}}
    make(root, film | {"windows": [film["windows"][0] | nothing]})
    assert seen[-1]["motion"] is None
    assert seen[-1]["visual"].shape == (13, VISUAL_DIM)


def test_a_film_without_picture_is_a_reject(root: Path, film: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="no picture") as caught:
        make(root, film | {"windows": None, "_extractor": "efficientnet_lite0"})
    assert caught.value.reason == "no_picture"


def test_a_window_beyond_the_end_of_the_picture_is_left_out(
    root: Path, film: dict[str, Any]
) -> None:
    windows = [film["windows"][0], film["windows"][1] | {"start_s": 2.7, "end_s": 4.0}]
    row = make(root, film | {"windows": windows})
    assert row["duration_s"] == pytest.approx(DURATION_S, abs=1 / 24)


def test_a_target_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"names a.mp4 twice"):
        SonifyConfig(targets=(Target("a.mp4"), Target("a.mp4", "hello")))


def test_only_named_films_are_items_and_only_where_there_is_a_model(workspace: Path) -> None:
    def row(table: str, **values: Any) -> dict[str, Any]:
        return {"run_id": "r-0"} | values

    with Catalog(Workspace.at(workspace).make()) as catalog:
        source = {"source_id": "s", "uri": "/archive/film.mp4", "size_bytes": 1, "streams": "[]"}
        source |= {"container": "mov", "has_audio": False, "has_video": True}
        catalog.insert("sources", [row("sources", **source)])
        decode = {"source_id": "s", "duration_s": 2.5, "frames10_count": 25, "frames25_count": 63}
        catalog.insert("decodes", [row("decodes", **decode, cuts_s=[])])
        config = SonifyConfig(dataset="made", targets=(Target("film.mp4"),), takes=2)
        assert catalog.plan(STAGE, config).items == 0
        dataset = {"dataset_id": "d", "name": "made", "version": 1, "codec_id": "c"}
        catalog.insert("datasets", [row("datasets", **dataset)])
        catalog.insert("checkpoints", [row("checkpoints", checkpoint_id="k", dataset_id="d")])
        assert catalog.plan(STAGE, config).items == 2
        assert catalog.rows("SELECT duration_s, windows FROM keyed LIMIT 1") == [
            {"duration_s": 2.52, "windows": None}
        ]
        window = {"clip_id": "c", "source_id": "s", "start_s": 0.5, "end_s": 1.5, "duration_s": 1.0}
        window |= {"scene": 0, "has_audio": True, "has_picture": True}
        catalog.insert("windows", [row("windows", **window, trim_start_s=0.5, trim_end_s=1.0)])
        feature = {"clip_id": "c", "version": 1, "shard_ref": "r", "content_hash": "h"}
        feature |= {"shape": [1], "dtype": "float16"}
        for extractor in ("efficientnet_lite0", "motion"):
            catalog.insert("features", [row("features", **feature, extractor=extractor)])
        catalog.plan(STAGE, config)
        ((covered,),) = [r["windows"] for r in catalog.rows("SELECT windows FROM keyed LIMIT 1")]
        assert (covered["start_s"], covered["end_s"], covered["held_s"]) == (0.0, 2.5, 0.5)
        # A model sees by the features that it was trained with, and by no others.
        change = "UPDATE lake.datasets SET image_extractor = ?"
        for extractor, is_seen in (("siglip_b16", False), ("efficientnet_lite0", True)):
            catalog.connection.execute(change, [extractor])
            catalog.plan(STAGE, config)
            (found,) = catalog.rows("SELECT windows, _extractor FROM keyed LIMIT 1")
            assert (found["windows"] is not None, found["_extractor"]) == (is_seen, extractor)
        assert catalog.plan(STAGE, SonifyConfig("made", targets=())).items == 0
        # A film that was decoded without motion is seen all the same.
        catalog.connection.execute("DELETE FROM lake.features WHERE extractor = 'motion'")
        catalog.connection.execute("UPDATE lake.decodes SET frames25_count = NULL")
        assert catalog.plan(STAGE, config).items == 2
        (still,) = catalog.rows("SELECT windows, duration_s FROM keyed LIMIT 1")
        assert still["windows"][0]["motion"] == {"shard_ref": None, "content_hash": None}
        assert still["duration_s"] == 2.5
        # A name that ends as another one's does is not that one, and is not passed over.
        for name in ("ilm.mp4", "other.mp4"):
            assert catalog.plan(STAGE, SonifyConfig("made", targets=(Target(name),))).items == 1
            assert catalog.rows("SELECT source_id, _uri FROM keyed") == [
                {"source_id": None, "_uri": name}
            ]
        exact = SonifyConfig(checkpoint="k", targets=(Target("/archive/film.mp4"),))
        assert catalog.plan(STAGE, exact).items == 1


def test_a_target_that_matches_no_source_is_rejected_by_its_name(tmp_path: Path) -> None:
    item = {"source_id": None, "_uri": "reel-9.mp4"}
    out = ShardTarget(str(tmp_path), str(tmp_path))
    with pytest.raises(Rejected, match=r"reel-9\.mp4: no source of this name") as caught:
        sonify(item, out, SonifyConfig())
    assert caught.value.reason == "missing"
