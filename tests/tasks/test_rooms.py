"""Rooms are what was asked for, the same everywhere; a bad file costs itself only."""

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from models.timeline import AUDIO48_HZ
from storage.catalog import Catalog
from storage.workspace import Workspace
from tasks.draws import keyed_generator
from tasks.recipe import RecipeError, check_source, parse_recipe
from tasks.room_measures import t60_s
from tasks.room_response import load_response
from tasks.room_simulation import SPEED_OF_SOUND_M_S, WALL_MARGIN_M, Room, draw_room, simulate
from tasks.rooms import STAGE, RoomsConfig, list_rooms, response_bytes, simulated
from tests.made_catalog import bring_up
from tests.made_commits import made_row
from tests.made_rooms import decay

SIZES_M = ((2.5, 10.0), (2.5, 10.0), (2.2, 4.0))


@pytest.fixture(scope="module")
def bank():
    return [simulated(number, RoomsConfig()) for number in range(24)]


def test_a_simulated_room_has_the_reverberation_time_that_was_drawn(bank):
    asked = np.array([facts["t60_requested_s"] for _, facts in bank])
    found = np.array([t60_s(response, AUDIO48_HZ) for response, _ in bank])
    assert np.abs(found / asked - 1).max() < 0.15
    assert np.mean(found / asked) == pytest.approx(1.0, abs=0.04)
    assert asked.min() >= 0.15 and asked.max() <= 1.0 and np.ptp(asked) > 0.5


def test_the_direct_sound_is_one_at_the_first_sample_and_nothing_else_is_as_early(bank):
    for response, facts in bank:
        assert response[0] == 1.0
        # Walls are 30 cm away: the first reflection takes a longer way than the direct sound.
        first_m = math.hypot(facts["distance_m"], 2 * WALL_MARGIN_M)
        samples = (first_m - facts["distance_m"]) / SPEED_OF_SOUND_M_S * AUDIO48_HZ
        assert np.abs(response[1 : int(samples) - 2]).max(initial=0) < 0.02


def test_reflections_arrive_when_and_as_loud_as_geometry_says():
    # The way is a whole number of samples, and so is the way by the floor, at 3:4:5.
    step_m = SPEED_OF_SOUND_M_S / AUDIO48_HZ
    distance_m = 300 * step_m
    room = Room(
        (9.0, 9.0, 9.0), 0.5, (3.0, 3.0, 200 * step_m), (3.0 + distance_m, 3.0, 200 * step_m)
    )
    response = simulate(room, keyed_generator("test"), 0.05)
    floor = response[200]  # 500 samples against 300
    assert floor == pytest.approx(3 / 5 * room.reflected_energy**0.5, abs=0.01)
    assert np.abs(response[1:190]).max() < 0.02


def test_noise_takes_over_from_the_images_at_their_level():
    rises_db = []
    for number in range(12):
        generator = keyed_generator("join", number)
        room = draw_room(generator, (0.8, 0.8), SIZES_M, (1.0, 2.0))
        response = simulate(room, generator, 0.08)
        join = round((0.08 - room.distance_m / SPEED_OF_SOUND_M_S) * AUDIO48_HZ)
        before = response[join - 1440 : join - 480]
        after = response[join : join + 960]
        fall_db = 60 * 1200 / AUDIO48_HZ / 0.8
        rises_db.append(10 * np.log10(np.mean(after**2) / np.mean(before**2)) + fall_db)
    assert abs(np.mean(rises_db)) < 0.7
    assert np.abs(rises_db).max() < 3.0


def test_speaker_and_microphone_stand_in_the_room_as_far_apart_as_asked():
    for number in range(200):
        room = draw_room(keyed_generator("place", number), (0.3, 0.3), SIZES_M, (0.5, 2.5))
        for place in (room.source_m, room.microphone_m):
            for at, side in zip(place, room.size_m, strict=True):
                assert WALL_MARGIN_M <= at <= side - WALL_MARGIN_M
        assert 0.49 <= room.distance_m <= 2.51
        samples = room.distance_m / SPEED_OF_SOUND_M_S * AUDIO48_HZ
        assert samples == pytest.approx(round(samples), abs=1e-6)


def test_a_room_too_small_for_the_distance_gets_a_shorter_one():
    size = ((2.0, 2.0), (2.0, 2.0), (2.2, 2.2))
    assert 0.3 < draw_room(keyed_generator(1), (0.3, 0.3), size, (5, 5)).distance_m < 2.0


SCRIPT = """
import hashlib
from tasks.rooms import RoomsConfig, response_bytes, simulated
for number in (5, 2):
    print(hashlib.sha256(response_bytes(simulated(number, RoomsConfig())[0])).hexdigest())
"""


def test_rooms_have_the_same_bytes_in_another_process_and_order():
    here = [
        hashlib.sha256(response_bytes(simulated(number, RoomsConfig())[0])).hexdigest()
        for number in (2, 5)
    ]
    command = [sys.executable, "-c", SCRIPT]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.split() == here[::-1]
    assert len(set(here)) == 2


def test_other_seeds_draw_other_rooms_and_more_rooms_leave_the_first_as_they_are():
    _, facts = simulated(3, RoomsConfig())
    assert simulated(3, RoomsConfig(count=100))[1] == facts
    assert simulated(3, RoomsConfig(seed=1))[1] != facts
    assert STAGE.fingerprint(RoomsConfig(count=2)) == STAGE.fingerprint(RoomsConfig(count=9))


@pytest.fixture
def folder(tmp_path):
    """A church in stereo at 44.1 kHz, a copy of it, and files that are no rooms."""
    made = tmp_path / "measured"
    (made / "far").mkdir(parents=True)
    flight = np.zeros(2000)
    church = np.concatenate([flight, 0.4 * decay(0.8, 1.5)])
    other = np.random.default_rng(4).uniform(-0.1, 0.1, len(church))
    soundfile.write(made / "far" / "church.wav", np.stack([church, other], 1), 44_100, "PCM_24")
    (made / "copy.wav").write_bytes((made / "far" / "church.wav").read_bytes())
    soundfile.write(made / "noise.flac", other, 48_000)
    soundfile.write(made / "silent.wav", np.zeros(4800), 48_000)
    (made / "text.wav").write_text("not a sound")
    (made / "empty.flac").write_bytes(b"")
    whole = (made / "noise.flac").read_bytes()
    (made / "half.flac").write_bytes(whole[: len(whole) // 2])
    (made / "notes.txt").write_text("read by nobody")
    return made


def test_measured_rooms_are_read_from_the_direct_sound_and_bad_files_are_rejected(tmp_path, folder):
    config = RoomsConfig(count=1, folder=str(folder))
    with Catalog(Workspace.at(tmp_path / "workspace").make()) as catalog:
        assert catalog.plan(STAGE, config).is_idle  # nobody speaks yet
        spoken = made_row("kinds", clip_id="talk", kind="speech_off_screen", kept=True)
        catalog.insert("kinds", [spoken])
        bring_up(catalog, STAGE, config)
        rooms = {row["item_id"]: row for row in catalog.rows("SELECT * FROM rooms")}
        rejects = catalog.rows("SELECT item_id, reason, message FROM rejects")
        assert catalog.plan(STAGE, config).is_idle
        (folder / "copy.wav").unlink()
        bring_up(catalog, STAGE, config)
        assert catalog.value("SELECT count(*) FROM rooms") == 2
    assert set(rooms) == {"simulated:00000", "measured:far/church.wav", "measured:copy.wav"}
    church = rooms["measured:far/church.wav"]
    assert church["room_id"] == rooms["measured:copy.wav"]["room_id"]
    # Made at 48 kHz and played at 44.1 kHz, it takes longer.
    assert church["t60_s"] == pytest.approx(0.8 * 48_000 / 44_100, rel=0.1)
    assert church["distance_m"] is None and church["name"] == "far/church.wav"
    response = load_response(str(tmp_path / "workspace"), church["ref"], AUDIO48_HZ)
    assert response[0] == 1.0
    assert len(response) / AUDIO48_HZ == pytest.approx(church["length_s"])
    assert {row["item_id"].partition(":")[2]: row["reason"] for row in rejects} == {
        "noise.flac": "no_response",
        "silent.wav": "no_response",
        "text.wav": "not_media",
        "empty.flac": "empty",
        "half.flac": "damaged",
    }
    assert all(row["item_id"].partition(":")[2] in row["message"] for row in rejects)


def test_a_folder_that_is_missing_or_holds_no_response_is_said_before_a_build(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"mend `rooms\.folder`"):
        list_rooms(RoomsConfig(folder=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="no WAV or FLAC"):
        list_rooms(RoomsConfig(folder=str(tmp_path)))
    assert list_rooms(RoomsConfig(count=0)).num_rows == 0


def test_the_folder_counts_from_the_recipes_own(tmp_path, folder):
    (tmp_path / "film.mp4").write_bytes(b"film")
    fields = {"name": "made", "rooms": {"folder": "measured", "count": 0}}
    recipe = parse_recipe(fields, tmp_path / "made.yaml")
    assert recipe.configs["rooms"].folder == str(folder)
    check_source(recipe)
    with pytest.raises(RecipeError, match=r"rooms folder .*nowhere"):
        check_source(recipe.with_config("rooms", folder=str(tmp_path / "nowhere")))
    with pytest.raises(RecipeError, match="smaller one first"):
        recipe.with_config("rooms", t60_s=(1.0, 0.2))
