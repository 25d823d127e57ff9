"""The report on a made catalog: what it says, that it stands alone, that a browser plays it."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from models.timeline import AUDIO48_HZ
from storage.blobs import Blobs, hash_in
from storage.catalog import Catalog
from storage.ids import clip_id
from storage.lake import CatalogMissing
from storage.stage import ShardRef, ShardTarget
from storage.workspace import Workspace
from tasks import report_charts as charts
from tasks.media import FrameWriter
from tasks.mix import mix_shard
from tasks.mix_plan import MixConfig
from tasks.mix_render import flac_bytes
from tasks.report import render, write_report
from tasks.report_data import EXAMPLE_QUERIES, report_data
from tasks.report_gates import histogram_svg
from tasks.report_media import colour_map, encode_mp3, spectrogram_png
from tasks.report_mixture_cards import mixture_sounds
from tasks.report_words import length, number, quantity
from tests.browser import CHROMIUM, check_page
from tests.made_mixtures import item, only
from tests.made_rooms import decay

RATE_HZ = 16_000
EVIL = '<script>alert("x")</script> & "quotes"'


# -- a made catalog ------------------------------------------------------------------------------


def voice(duration_s: float, seed: int) -> np.ndarray:
    """A buzz with syllables: harmonics of a gliding pitch under an envelope of 4 Hz."""
    t = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    pitch_hz = 120 + 20 * np.sin(2 * np.pi * 0.5 * t + seed)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    return (0.1 * buzz * np.clip(np.sin(2 * np.pi * 2 * t), 0, 1)).astype(np.float32)


def rain(duration_s: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(round(duration_s * RATE_HZ))
    return (0.05 * noise).astype(np.float32)


def put_flac(blobs: Blobs, audio: np.ndarray) -> str:
    sink = BytesIO()
    soundfile.write(sink, audio, RATE_HZ, format="FLAC", subtype="PCM_16")
    return blobs.put_bytes(sink.getvalue(), ".flac")


def put_frames(blobs: Blobs, folder: Path, duration_s: float, hue: int) -> tuple[str, int]:
    path = folder / f"frames-{hue}.parquet"
    writer = FrameWriter(path)
    total = round(10 * duration_s)
    for place in range(total):
        picture = np.full((120, 160, 3), (hue, 90, 160), np.uint8)
        cv2.circle(picture, (20 + 2 * place % 120, 60), 18, (240, 240, 240), -1)
        writer.add(place / 10, cv2.imencode(".jpg", picture)[1].tobytes())
    writer.close(total)
    return blobs.put_file(path, ".parquet"), total


def make_film(path: Path, audio: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as film:
        video = film.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        sound = film.add_stream("aac", rate=RATE_HZ, layout="mono")
        for place in range(round(10 * len(audio) / RATE_HZ)):
            picture = np.full((120, 160, 3), (40 + 4 * place % 200, 90, 160), np.uint8)
            film.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(audio[None], format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        film.mux(sound.encode(frame))
        film.mux(video.encode(None))
        film.mux(sound.encode(None))


class Made:
    """A workspace with a small made catalog."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace.at(root).make()
        self.blobs = Blobs(self.workspace.root)
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.number = 0

    def add(self, table: str, **values: Any) -> None:
        self.rows.setdefault(table, []).append(values | {"run_id": "r-1"})

    def source(
        self,
        name: str,
        audio: np.ndarray | None,
        picture: bool,
        kind: str,
        split: str,
        **label: Any,
    ) -> str:
        """Adds a source of one clip with all its labels; returns the clip's id."""
        self.number += 1
        source = f"{self.number:064x}"
        duration_s = len(audio) / RATE_HZ if audio is not None else 4.0
        clip = clip_id(source, 0.0, duration_s)
        ref, frames = None, 0
        if picture:
            ref, frames = put_frames(self.blobs, self.workspace.root, duration_s, 30 * self.number)
        uri = f"/made/{name}"
        self.add("files", uri=uri, source_id=source, size_bytes=1000, mtime_ns=1)
        self.add(
            "sources", source_id=source, uri=uri, size_bytes=1000, container="mov,mp4",
            duration_s=duration_s, has_audio=audio is not None, has_video=picture,
            video_codec="h264" if picture else None, streams="[]",
        )  # fmt: skip
        self.add(
            "decodes", source_id=source, duration_s=duration_s,
            audio16_ref=put_flac(self.blobs, audio) if audio is not None else None,
            audio_s=duration_s, frames10_ref=ref, frames10_count=frames, cuts_s=[],
            decode_cpu_s=0.1,
        )  # fmt: skip
        self.add("splits", source_id=source, component_id=source, split=split)
        self.add(
            "windows", clip_id=clip, source_id=source, start_s=0.0, end_s=duration_s,
            duration_s=duration_s, scene=0, has_audio=audio is not None, has_picture=picture,
        )  # fmt: skip
        speaks = kind.startswith("speech") or kind == "mixed"
        if audio is not None:
            self.add(
                "listens", clip_id=clip, loudness_lufs=-23.4, peak_dbfs=-3.2, silence_ratio=0.12,
                speech_s=duration_s - 0.6 if speaks else 0.0,
                speech_spans=[{"start_s": 0.3, "end_s": duration_s - 0.3}] if speaks else [],
                speech_score=0.97 if speaks else 0.02, top_tag="Speech" if speaks else "Rain",
                has_speech=speaks,
            )  # fmt: skip
            labels = ("Speech", "Narration", "Music") if speaks else ("Rain", "Wind", EVIL)
            for rank, (tag, score) in enumerate(zip(labels, (0.91, 0.4, 0.06), strict=True), 1):
                self.add("tags", clip_id=clip, rank=rank, label=tag, score=score)
        failed = label.pop("failed", [])
        asked = {
            "too_quiet": (2, -60.0, -23.4 if audio is not None else None),
            "silent_sound": (3, 0.8, 0.95 if "silent_sound" in failed else 0.12),
            "clipped": (7, 0.001, 0.02 if "clipped" in failed else 0.0),
            "music_in_sound": (8, None, 0.4),
        }
        gates = [
            {"position": place, "gate": gate, "value": value, "threshold": threshold,
             "passed": None if threshold is None else gate not in failed}
            for gate, (place, threshold, value) in asked.items()
        ]  # fmt: skip
        self.add("kinds", clip_id=clip, kind=kind, evidence="{}", gates=gates, kept=not failed,
                 failed_gates=failed, drop_reason=failed[0] if failed else None,
                 **({"task": None} | label))  # fmt: skip
        return clip

    def speech(self, clip: str, duration_s: float, text: str) -> None:
        self.add(
            "transcripts", clip_id=clip, text=text, language="en", language_score=0.99,
            avg_logprob=-0.3, no_speech_score=0.01, compression_ratio=1.1, flags=[],
            method="whisper", model_id="tiny.en",
        )  # fmt: skip
        spoken = text.split()
        each_s = (duration_s - 0.6) / len(spoken)
        place = 0
        for position, word in enumerate(spoken):
            start_s = 0.3 + position * each_s
            end_s = start_s + 0.9 * each_s
            self.add("words", clip_id=clip, position=position, word=word, start_s=start_s,
                     end_s=end_s, score=None if position == 1 else 0.9)  # fmt: skip
            symbols = [*word.strip(".,").lower()][:6]
            for number_in_word, symbol in enumerate(symbols):
                step_s = 0.9 * each_s / len(symbols)
                self.add(
                    "phonemes", clip_id=clip, position=place, word_position=position,
                    phoneme=symbol, start_s=start_s + number_in_word * step_s,
                    end_s=start_s + (number_in_word + 1) * step_s, stressed=number_in_word == 1,
                    method="proportional", model_id="espeak-ng/en-us",
                )  # fmt: skip
                place += 1

    def look(self, clip: str, seen: dict[str, Any]) -> None:
        """Adds faces from left to right, the surest of which speaks, and the clip's offset."""
        self.rows["decodes"][-1] |= {"faces_count": 9, "faces_ref": None}
        best = max(seen["confidence"])
        for track, (x, sure) in enumerate(zip(seen["across"], seen["confidence"], strict=True)):
            self.add(
                "faces", clip_id=clip, track=track, start_s=0.0, end_s=6.0, seen_s=6.0,
                box_left=x - 0.1, box_right=x + 0.1, box_top=0.2, box_bottom=0.5, size_px=90.0,
                score=0.9, mesh_score=1.0, mouth_opening=0.1,
            )  # fmt: skip
            self.add("talks", clip_id=clip, track=track, activity=0.02, correlation=0.5,
                     offset_s=seen["offset_s"], confidence=sure, talks=sure == best)  # fmt: skip
        self.add("syncs", clip_id=clip, method="mouth", offset_s=seen["offset_s"],
                 correlation=0.5, confidence=best, track=1, on_screen=True)  # fmt: skip

    def write(self) -> None:
        with Catalog(self.workspace) as catalog, catalog.transaction():
            for table, rows in self.rows.items():
                catalog.insert(table, rows)


def make_catalog(root: Path) -> Made:
    made = Made(root)
    made.add(
        "runs", command="talkies demo", recipe="{}", code_commit="0123456789abcdef",
        versions=json.dumps({"python": "3.11.2", "torch": "2.11.0", "cores": 2}),
        started_at=datetime(2026, 11, 23, 9, 30, tzinfo=UTC), status="done", wall_s=421.0,
        cpu_s=700.0,
    )  # fmt: skip
    text = "The quick brown fox jumps over a lazy dog while nobody, as usual, pays attention."
    screen = made.source("talk.mp4", voice(6.0, 1), True, "speech_on_screen", "train",
                         task="visual_tts")  # fmt: skip
    made.speech(screen, 6.0, text)
    made.look(screen, {"across": (0.2, 0.7), "confidence": (0.31, 0.985), "offset_s": 0.101})
    alone = made.source("line-0870.wav", voice(4.0, 2), False, "speech_off_screen", "test",
                        task="tts")  # fmt: skip
    made.speech(alone, 4.0, "He was not an ill disposed young man.")
    sound = made.source("street.mp4", rain(5.0, 3), True, "sound", "train", task="v2s")
    ambience = made.source("rain <&>.ogg", rain(4.0, 4), False, "sound", "train")
    made.source("bikes.mp4", None, True, "silent", "train", failed=["too_quiet"])
    made.source("hum.wav", 0.001 * rain(3.0, 5), False, "sound", "train",
                failed=["silent_sound", "clipped"])  # fmt: skip
    made.add("files", uri="/made/copy.mp4", source_id=f"{1:064x}", size_bytes=1000, mtime_ns=1)
    for uri, reason in (("/made/cut.mp4", "truncated"), ("/made/notes.mp4", "not_media")):
        made.add("files", uri=uri, source_id=uri.encode().hex(), size_bytes=9, mtime_ns=1)
        made.add("rejects", stage="probe", item_id=uri.encode().hex(), uri=uri, reason=reason,
                 message=f"{uri}: {EVIL}, get a complete copy", facts="{}")  # fmt: skip
    mixture = _mixtures(made, screen, ambience)
    members = [(screen, "visual_tts", "train", 6.0), (alone, "tts", "test", 4.0),
               (sound, "v2s", "train", 5.0), (mixture, "mixture", "train", 6.0)]  # fmt: skip
    for member, task, split, duration_s in members:
        made.add("dataset_items", dataset_id="d-1", item_id=member, task=task, split=split,
                 duration_s=duration_s, content_hash="0")  # fmt: skip
    made.add(
        "datasets", dataset_id="d-1", name="demo", version=1, digest="77ab" * 8,
        catalog_snapshot=9, train_items=3, validation_items=0, test_items=1, hours=21 / 3600,
        codec_id="c-1", shard_refs=[],
    )  # fmt: skip
    made.add("codecs", codec_id="c-1", name="mel_pca", ref="blobs/aa/bb.safetensors", channels=64,
             latent_hz=25.0, sample_rate_hz=RATE_HZ, explained_variance=0.973,
             fitted_clips=3)  # fmt: skip
    _training(made)
    _films(made)
    made.write()
    return made


def _mixtures(made: Made, speech: str, ambience: str) -> str:
    """Adds one whose stems are kept, two of a recipe alone, one without parents; its first id."""
    refs = [row["audio16_ref"] for row in made.rows["decodes"]]
    room = made.blobs.put_bytes(flac_bytes(decay(0.4, 0.5)[None], AUDIO48_HZ), ".flac")
    planned = item(
        speech_clip_id=speech, speech_start_s=0.0, speech_end_s=6.0, speech_audio_ref=refs[0],
        speech_spans=[{"start_s": 0.3, "end_s": 5.7}], ambience_clip_id=ambience,
        ambience_end_s=4.0, ambience_audio_ref=refs[3], room_id="77ac", room_ref=room, t60_s=0.4,
    )  # fmt: skip
    in_room = only("broadcast", room_probability=1.0)
    rows = [
        mixture_row(made, planned, in_room, f"{speech}:0"),
        mixture_row(made, planned, only("location", keep="recipe"), f"{speech}:1"),
        mixture_row(made, planned, only("speech_only", keep="recipe"), f"{speech}:2"),
    ]
    orphan = rows[1]["recipe"].replace(hash_in(refs[3]), "0" * 64)
    rows.append(rows[1] | {"mix_id": "orphan", "item_id": f"{speech}:3", "recipe": orphan})
    for row in rows:
        made.add("mixtures", **row)
    return rows[0]["mix_id"]


def mixture_row(made: Made, planned: dict[str, Any], config: MixConfig, item_id: str) -> Any:
    """The row that the stage makes of an item."""
    keys = {"_fingerprint": "", "_limited_fingerprint": "", "_input_hash": ""}
    root = Path(made.workspace.root)
    pq.write_table(
        pa.Table.from_pylist([planned | keys | {"item_id": item_id}]), root / "items.parquet"
    )
    shard = ShardRef("mix", 0, str(root / "items.parquet"), "r-1")
    result = mix_shard(shard, ShardTarget(str(root), str(root)), config)
    return pq.read_table(result.tables["mixtures"]).to_pylist()[0]


def _training(made: Made) -> None:
    made.add(
        "checkpoints", checkpoint_id="ab12" * 16, dataset_id="d-1", preset="tiny",
        ref="checkpoints/ab12", parameters=6_120_000, steps=360, first_loss=1.9, last_loss=1.1,
        config="{}", train_s=118.0,
    )  # fmt: skip
    for step in range(10, 361, 10):
        tuning = step > 300
        for offset, task in enumerate(("all", "mixture") if tuning else ("all", "v2s", "tts")):
            loss = 1 + np.exp(-step / 120) + 0.08 * offset + 0.03 * np.sin(step * (offset + 1))
            made.add("losses", checkpoint_id="ab12" * 16, phase="mixtures" if tuning else "joint",
                     step=step, task=task, loss=float(loss))  # fmt: skip
    metrics = (("flow_matching_loss", 1.21, ""), ("codec_log_mel_l1_db", 3.1, "dB"))
    for metric, value, unit in metrics:
        for split in ("validation", "test"):
            made.add("evaluations", checkpoint_id="ab12" * 16, metric=metric, task="all",
                     split=split, value=value, low=value - 0.1, high=value + 0.13, items=9,
                     unit=unit, role="score")  # fmt: skip
    for role, value in (("score", 0.41), ("truth", 0.97), ("ceiling", 0.93), ("control", 0.17)):
        made.add("evaluations", checkpoint_id="ab12" * 16, metric="onset_f1", task="v2s",
                 split="test", value=value, low=value - 0.02, high=value + 0.02, items=7, unit="",
                 role=role)  # fmt: skip


def _films(made: Made) -> None:
    films = (("bikes.mp4", 5, None), ("talk.mp4", 1, "The quick brown fox"))
    for name, source, script in films:
        audio = voice(4.0, source) + rain(4.0, source)
        make_film(made.workspace.path(f"soundtracks/{name}"), audio)
        made.add(
            "generations", generation_id=f"g-{source}", item_id=f"{source}:1",
            source_id=f"{source:064x}", checkpoint_id="ab12" * 16, seed=7, take=1, script=script,
            duration_s=4.0, video_s=4.0, rtf=2.1, loudness_lufs=-27.0,
            audio_ref=put_flac(made.blobs, audio), file_ref=f"soundtracks/{name}",
            output_hash="52d0" * 16, picture_untouched=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_catalog(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def page(made: Made) -> str:
    return write_report(made.workspace, "demo").read_text()


# -- what the page says --------------------------------------------------------------------------


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name in names]


def test_a_score_stands_beside_its_truth_ceiling_and_control(page: str) -> None:
    text = Page(page).text
    assert "Onsets within 50 ms, F1" in text
    assert "0.410 0.390 to 0.430 0.970 0.930 0.170 7" in text
    assert "1.210 1.110 to 1.340 – – – 9" in text


def test_a_model_that_began_with_weights_is_said_to_be_tuned(made: Made, page: str) -> None:
    with Catalog(made.workspace, read_only=True) as catalog:
        data = report_data(catalog, "demo")
    begun = [data.checkpoints[0] | {"init_sha256": "cd" * 32}]
    tuned = replace(data, checkpoints=begun, clips=[], films=data.films[:1])
    text = Page(render(tuned, made.workspace, datetime.now(UTC))).text
    assert "was tuned for 2.0 min" in text and "from weights that were there before" in text
    assert "Began with weights cdcdcdcdcdcd" in text
    assert "was trained for 2.0 min" in Page(page).text and "Began with" not in Page(page).text


def test_the_page_takes_nothing_from_elsewhere(page: str) -> None:
    for name, attributes in Page(page).tags:
        assert name not in ("iframe", "object", "embed", "base")
        for key in ("src", "href", "poster", "data", "srcset", "action"):
            value = attributes.get(key) or "#"
            assert value.startswith(("data:", "#")), (name, key, value[:80])
    assert not re.findall(r"url\(|@import|https?://", page)


def test_each_clip_with_sound_has_a_player_and_each_mixture_its_parts(page: str) -> None:
    players = Page(page).all("audio", "video")
    # In a room: dry, speech, ambience, mix; without: three; speech alone: its mix; orphan: none.
    assert [p["src"].split(",")[0] for p in players if p["src"]] == (
        ["data:audio/mpeg;base64"] * (5 + 4 + 3 + 1) + ["data:video/mp4;base64"] * 2
    )
    assert all(len(p["src"] or "") > 5000 and p["aria-label"] for p in players)


def test_a_mixture_says_its_recipe_in_words_and_one_that_fails_to_render_says_so(
    page: str, made: Made
) -> None:
    text = Page(page).text
    kept, located, alone, _ = made.rows["mixtures"]
    asked = number(kept["requested_difference_lu"], 2), number(located["requested_snr_db"], 2)
    assert f"Loudness difference {asked[0]} asked, {asked[0]} LU achieved" in text
    assert f"SNR {asked[1]} asked, {asked[1]} dB achieved" in text.replace("\u00a0", " ")
    assert "Room T60 0.40 s Ambience from 0.0 s of its clip" in text
    assert f"Ducking {number(-kept['ducking_db'], 1)} dB, down in" in text
    assert "from 0.0 s of its clip, repeated every 3.8 s" in text
    assert text.count("This mixture could not be rendered: ") == 1
    assert "1 more has no level to compare: 1 speech only." in text
    assert str(made.workspace.root) not in text and alone["mix_ref"] is None


def test_a_mixture_sounds_the_same_whether_it_is_read_or_rendered(made: Made) -> None:
    row = made.rows["mixtures"][0]
    recipe, root = json.loads(row["recipe"]), str(made.workspace.root)
    kept = mixture_sounds(root, row, recipe)
    again = mixture_sounds(root, row | {"ambience_ref": None}, recipe)
    assert list(kept) == list(again) == ["dry", "speech", "ambience", "mix"]
    for name, audio in kept.items():
        assert len(audio) == 6 * RATE_HZ and np.array_equal(audio, again[name])
    assert np.array_equal(kept["speech"] + kept["ambience"], kept["mix"])


def test_a_ducking_curve_is_drawn_over_the_ambience_that_ducks_alone(page: str) -> None:
    drawn = re.findall(r'<svg class="ducking".*?</svg>', page)
    assert ["polyline" in one for one in drawn] == [True, False]
    # Speech from 0.3 to 5.7 of 6 s.
    assert all('<rect x="50.0" width="900.0"' in one for one in drawn)


def test_a_clip_says_who_speaks_and_how_late_its_sound_is(page: str) -> None:
    text = Page(page).text
    assert "Sync by mouth sound 101 ms late Sure of it 98 %" in text
    assert "2 faces, from the left: does not speak (31 % sure of its mouth)" in text
    assert "apart by the same time" not in text


def test_a_source_that_is_out_of_sync_throughout_is_warned_of(tmp_path: Path) -> None:
    late = Made(tmp_path)
    clip = late.source("late.mp4", voice(3.0, 1), True, "speech_on_screen", "train")
    second = {"clip_id": "f" * 32, "start_s": 3.0, "end_s": 6.0}
    late.add("windows", **(late.rows["windows"][0] | second))
    for clip_of_source, offset_s in ((clip, -0.22), ("f" * 32, -0.2)):
        late.add("syncs", clip_id=clip_of_source, method="onset", offset_s=offset_s,
                 correlation=0.5, confidence=0.99)  # fmt: skip
    late.write()
    text = Page(write_report(late.workspace, "late").read_text()).text
    assert "late.mp4: sound 220 ms early, within 10 ms over 2 clips" in text
    assert "Faces were not looked for." in text


def test_what_comes_from_data_is_escaped(page: str) -> None:
    assert EVIL not in page
    assert EVIL in Page(page).text
    assert "rain <&>.ogg" in Page(page).text


def test_every_picture_has_a_text_or_is_decoration(page: str) -> None:
    parsed = Page(page)
    assert all("alt" in image for image in parsed.all("img"))
    for drawing in parsed.all("svg"):
        assert drawing.get("aria-label") or drawing.get("aria-hidden") or drawing.get("viewbox")


def test_folders_of_this_machine_stay_off_the_page(page: str, made: Made) -> None:
    assert "/made/" not in page
    assert str(made.workspace.root) not in page


def test_the_funnel_says_what_left_and_why(made: Made) -> None:
    with Catalog(made.workspace, read_only=True) as catalog:
        steps = {step.name: step for step in report_data(catalog, "demo").funnel}
    counts = {name: step.count for name, step in steps.items()}
    assert counts == {
        "files": 9, "sources": 6, "decoded": 6, "clips": 6, "heard": 5, "kept": 4,
        "in the dataset": 3,
    }  # fmt: skip
    assert {(loss.count, loss.why) for loss in steps["files"].lost} == {
        (1, "same bytes as another file"),
        (1, "truncated (probe)"),
        (1, "not media (probe)"),
    }
    assert [(loss.count, loss.why) for loss in steps["clips"].lost] == [(1, "no sound track")]
    assert [(loss.count, loss.why) for loss in steps["heard"].lost] == [(1, "silent sound")]


def test_losses_of_a_step_sum_to_the_drop_to_the_next(made: Made) -> None:
    with Catalog(made.workspace, read_only=True) as catalog:
        steps = report_data(catalog, "demo").funnel
    for step, following in pairwise(steps):
        if step.unit == following.unit:
            assert step.count - sum(loss.count for loss in step.lost) == following.count


def test_each_gate_stands_with_its_threshold_and_what_it_removes(made: Made, page: str) -> None:
    with Catalog(made.workspace, read_only=True) as catalog:
        rows = {row["gate"]: row for row in report_data(catalog, "demo").gates}
    counts = ("clips_asked", "clips_failed", "clips_only", "clips_left", "unmeasured")
    assert {name: tuple(row[count] for count in counts) for name, row in rows.items()} == {
        "too_quiet": (6, 1, 1, 5, 1),
        "silent_sound": (6, 1, 0, 4, 0),
        "clipped": (6, 1, 0, 4, 0),
        "music_in_sound": (0, 0, 0, 4, 0),
    }
    text = Page(page).text
    assert "Loudness too_quiet ≥ −60 LUFS 6 1 4.0 s 1 4.0 s 5 22.0 s" in text
    assert "Clipped samples clipped < 0.1 % 6 1 3.0 s – 4 19.0 s" in text
    assert "Music in sound music_in_sound off – – – 4 19.0 s" in text
    assert "dropped: silent sound, clipped" in text


def test_a_histogram_counts_every_measured_clip_once(made: Made) -> None:
    with Catalog(made.workspace, read_only=True) as catalog:
        rows = {row["gate"]: row for row in report_data(catalog, "demo").gates}
    kept = {name: sum(b["kept"] for b in row["bins"]) for name, row in rows.items()}
    failed = {name: sum(b["failed"] for b in row["bins"]) for name, row in rows.items()}
    assert kept == {"too_quiet": 5, "silent_sound": 5, "clipped": 5, "music_in_sound": 6}
    assert failed == {"too_quiet": 0, "silent_sound": 1, "clipped": 1, "music_in_sound": 0}
    assert rows["silent_sound"]["bins"][-1] == {"bin": 30, "kept": 0, "failed": 1}


def test_the_threshold_and_the_bars_stand_at_their_place_on_the_axis() -> None:
    bins = [{"bin": 8, "kept": 3, "failed": 1}, {"bin": 16, "kept": 0, "failed": 2}]
    drawing = str(histogram_svg(bins, (0.0, 4.0), 1.0, "x"))
    assert '<line class="threshold" x1="25.000%" x2="25.000%"' in drawing
    assert '<rect class="kept" x="25.000%" width="2.688%" y="21.0" height="63.0">' in drawing
    assert '<rect class="failed" x="25.000%" width="2.688%" y="0.0" height="21.0">' in drawing
    assert '<rect class="failed" x="50.000%" width="2.688%" y="42.0" height="42.0">' in drawing
    assert "threshold" not in str(histogram_svg(bins, (0.0, 4.0), None, "x"))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.8, "share", "80 %"), (0.001, "share", "0.1 %"), (0.00123, "share", "0.123 %"),
        (-60.0, "LUFS", "−60 LUFS"), (2.4, "", "2.4"), (6500.0, "Hz", "6\u202f500 Hz"),
        (3.0, "DNSMOS", "3"), (0.0, "share", "0 %"),
    ],
)  # fmt: skip
def test_a_quantity_has_the_digits_that_it_needs(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit).replace("\u00a0", " ") == text


def test_a_film_of_a_training_source_says_so_and_another_does_not(page: str) -> None:
    text = Page(page).text
    assert "Clips of talk.mp4 are in the training split" in text
    assert "bikes.mp4 is not in the dataset: the model never saw it" in text
    assert text.count("AI-generated sound") == 2
    assert "trained for 2.0 min" in text


def test_words_and_phonemes_stand_at_their_share_of_the_time_axis() -> None:
    word = {"word": "so", "start_s": 1.0, "end_s": 2.0, "score": 0.5}
    sound = {"phoneme": "s", "start_s": 1.0, "end_s": 1.5, "stressed": True, "position": 0}
    drawing = str(charts.speech_svg([word], [sound], 4.0, 400.0))
    assert '<rect x="25.000%" y="2" width="25.000%"' in drawing
    assert 'x="37.500%" y="17">so</text>' in drawing
    assert '<line x1="25.000%" x2="25.000%"' in drawing
    assert '<text x="31.250%"' in drawing


def test_labels_that_would_touch_step_down_and_others_stay_up() -> None:
    spans = [{"start_s": s, "end_s": s + 0.1} for s in (0.0, 0.1, 1.0, 2.0)]
    assert charts.label_rows(spans, ["united", "states", "so", "on"], 4.0, 400.0, 7.0, 2) == [
        0,
        1,
        0,
        0,
    ]


def test_example_queries_run_and_answer_on_the_catalog(made: Made) -> None:
    assert len(EXAMPLE_QUERIES) == 3
    with Catalog(made.workspace, read_only=True) as catalog:
        assert all(catalog.rows(query.sql) for query in EXAMPLE_QUERIES)


def test_the_same_catalog_gives_the_same_page_but_for_the_time_of_writing(
    made: Made, page: str
) -> None:
    def still(html: str) -> str:
        return re.sub(r"<div><dt>Page written.*?</div>", "", html)

    assert still(write_report(made.workspace, "demo").read_text()) == still(page)


def test_an_empty_catalog_gives_a_page_that_says_why_each_part_is_empty(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path).make()
    Catalog(workspace).close()
    parsed = Page(write_report(workspace, "nothing").read_text())
    empty = [a for a in parsed.all("p") if a.get("class") == "empty"]
    assert len(empty) == 13
    assert "No soundtrack has been generated yet" in parsed.text


def test_a_lost_blob_costs_its_player_and_no_more(tmp_path: Path) -> None:
    made = make_catalog(tmp_path)
    blob = made.blobs.path(made.rows["decodes"][0]["audio16_ref"])
    blob.unlink()
    made.workspace.path("soundtracks/bikes.mp4").unlink()
    parsed = Page(write_report(made.workspace, "demo").read_text())
    assert "The sound could not be read" in parsed.text
    assert "soundtracks/bikes.mp4 is missing from the workspace" in parsed.text
    assert str(tmp_path) not in parsed.text


def test_a_name_that_leaves_the_folder_is_refused(made: Made) -> None:
    with pytest.raises(ValueError, match=r"report name '\.\./x'"):
        write_report(made.workspace, "../x")


def test_a_workspace_without_a_catalog_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(CatalogMissing, match="has no catalog"):
        write_report(Workspace.at(tmp_path), "demo")


# -- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.97, "1.0 min"), (648.0, "10.8 min"), (5400, "1.50 h")],
)
def test_lengths_under_an_hour_are_minutes(duration_s: float, text: str) -> None:
    assert length(duration_s) == text


def test_numbers_carry_unit_and_true_minus_and_null_is_a_dash() -> None:
    assert number(-3.25, 1, "dB") == "\u22123.2\u00a0dB"
    assert number(6_120_000) == "6\u202f120\u202f000"
    assert number(None, 2, "dB") == "–"


def test_a_player_holds_the_sound_at_its_time_and_length() -> None:
    click = np.zeros(RATE_HZ * 3, np.float32)
    click[RATE_HZ : RATE_HZ + 200] = 0.8
    data = encode_mp3(click, RATE_HZ)
    assert data == encode_mp3(click, RATE_HZ)
    assert len(data) < 24_000
    with av.open(BytesIO(data), "r") as mp3:
        heard = np.concatenate([f.to_ndarray()[0] for f in mp3.decode(audio=0)])
    assert len(heard) == pytest.approx(len(click), abs=RATE_HZ // 10)
    assert np.abs(heard).argmax() == pytest.approx(RATE_HZ + 100, abs=RATE_HZ // 50)


def test_colours_grow_evenly_lighter() -> None:
    linear = (colour_map() / 255.0) ** 2.2
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(np.cbrt(luminance)) > -0.004).all()
    assert luminance[0] < 0.01 < 0.85 < luminance[-1]


def test_a_spectrogram_has_low_bands_at_the_bottom_and_a_limit_of_columns() -> None:
    from PIL import Image

    mel = np.full((5000, 80), -11.0, np.float32)
    mel[2500, 0] = 0.0
    picture = Image.open(BytesIO(spectrogram_png(mel))).convert("L")
    pixels = np.asarray(picture)
    assert pixels.shape == (80, 1200)
    assert np.unravel_index(pixels.argmax(), pixels.shape) == (79, 600)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0.93, 2.07, [1, 1.5, 2]), (-3, 13, [0, 5, 10]), (1, 1, [1])],
)
def test_ticks_are_round_and_inside(low: float, high: float, ticks: list[float]) -> None:
    assert charts.nice_ticks(low, high) == ticks


def test_a_loss_curve_marks_where_mixtures_begin() -> None:
    points = [
        {"phase": "joint" if step <= 30 else "mixtures", "step": step, "task": "all", "loss": 1.0}
        for step in (10, 20, 30, 40)
    ]
    drawing = str(charts.loss_chart(points))
    assert '<line class="phase" x1="75.000%"' in drawing
    assert "phase" not in str(charts.loss_chart(points[:3]))


def test_a_loss_curve_names_the_phase_of_few_steps_after_the_others() -> None:
    phases = ("joint", "mixtures", "few_steps")
    points = [
        {"phase": phase, "step": 10 * number, "task": "all", "loss": 1.0}
        for number, phase in enumerate(phases, 1)
    ]
    drawing = str(charts.loss_chart(points))
    assert re.findall(r'phase-\w+" x="([\d.]+)%" [^>]*>([^<]*)<', drawing) == [
        ("33.333", "joint"), ("33.333", "mixtures"), ("66.667", "few steps")
    ]  # fmt: skip


# -- a browser -----------------------------------------------------------------------------------

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed; apt-get install chromium"
)


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width_px", [1400, 380])
def test_chromium_plays_every_player_without_a_console_error(
    made: Made, page: str, tmp_path: Path, width_px: int
) -> None:
    path = tmp_path / "demo.html"
    path.write_text(page)
    assert check_page(path, tmp_path, width_px) == []


@needs_chromium
@pytest.mark.slow
def test_the_browser_check_sees_errors_and_dead_players(tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        "<body><audio src='data:audio/mpeg;base64,AAAA'></audio><p style='width:9999px'>x</p>"
        "<script>throw new Error('broken')</script></body>"
    )
    problems = check_page(path, tmp_path)
    assert any("broken" in problem for problem in problems)
    assert "player 0 has no sound" in problems
    assert any("wider than the screen" in problem for problem in problems)
