"""The staged world's exactness: what is seen, what is heard and what is told are one truth."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import AUDIO48_HZ, MOTION_FPS
from tasks.world_actors import ACTORS, collide, rain, shatter, slam, walk
from tasks.world_clip import make_clip
from tasks.world_content import MATERIALS, RADII_M, Material, is_held_out
from tasks.world_film import write_clip
from tasks.world_motion import SPAN_M, TOP_M, Body, Event, Rain, Swing, Walk, Way, bounces
from tasks.world_picture import draw_mover
from tasks.world_plan import ClipPlan, WorldConfig, plan_clip
from tasks.world_sound import level_dbfs, pitch_hz, render, room_noise, struck

WORLD = WorldConfig(seconds=2.0, side_px=64, voices=("espeak:en-us",))
PLANS = [plan_clip(WORLD, number) for number in range(400)]


def body(radius_m: float = 0.1, material: str = "stone", shape: str = "ball") -> Body:
    return Body(0, shape, 2, radius_m, material)


def some(kind: str, **having: object) -> ClipPlan:
    """The first plan of a kind with some attributes."""
    return next(
        plan
        for plan in PLANS
        if plan.kind == kind and all(getattr(plan, k) == v for k, v in having.items())
    )


def onsets_s(audio: NDArray[np.float32]) -> list[float]:
    """Where a sound (T,) rises to ten times what it was in the 5 ms before, 30 ms apart."""
    found: list[int] = []
    loud = np.abs(audio)
    window = AUDIO48_HZ // 200
    for sample in np.flatnonzero(loud > 1e-4):
        before = loud[max(sample - window, 0) : sample].max(initial=0.0)
        if loud[sample] > 10 * before and (not found or sample - found[-1] > 0.03 * AUDIO48_HZ):
            found.append(int(sample))
    return [sample / AUDIO48_HZ for sample in found]


def drop() -> tuple[Way, list[Event]]:
    thing = body()
    pieces, events, _ = bounces(thing, 0.2137, 1.0, 1.4, 0.1)
    return Way(thing, tuple(pieces)), events


def test_a_contact_is_heard_at_the_time_at_which_it_happens() -> None:
    _, events = drop()
    sound = render(events, [body()], 3.0, np.random.default_rng(0))
    heard = onsets_s(sound)
    happened = [event.start_s for event in events]
    assert len(happened) >= 3
    assert heard[:3] == pytest.approx(happened[:3], abs=1.01 / AUDIO48_HZ)


def test_a_contact_is_seen_at_the_time_at_which_it_happens() -> None:
    path, (first, *_) = drop()
    times = (
        np.arange(math.ceil(0.22 * MOTION_FPS), math.floor(first.start_s * MOTION_FPS) + 1)
        / MOTION_FPS
    )
    heights = []
    for time_s in times:
        image = np.zeros((128, 128, 3), np.uint8)
        draw_mover(image, path, float(time_s))
        # A ball's mark is darker than the ball, and counts as whole here; edges count in part.
        weight = np.minimum(image[..., 0] / (0.5 * path.body.made_of.colour[0]), 1.0).sum(axis=1)
        row = (weight * (np.arange(128) + 0.5)).sum() / weight.sum()
        heights.append(TOP_M - row * SPAN_M / 128)
    shape = np.polynomial.Polynomial.fit(times, np.array(heights) - path.body.radius_m, 2)
    seen_s = max(root.real for root in shape.roots())
    assert len(times) >= 6
    assert seen_s == pytest.approx(first.start_s, abs=0.001)


def test_every_contact_of_an_actor_is_where_its_bodies_touch() -> None:
    generator = np.random.default_rng(3)
    two = [replace(body(0.08), number=0), replace(body(0.17, "metal"), number=1)]
    (left, right), events = collide(two, 5.0, generator)
    assert isinstance(left, Way) and isinstance(right, Way)
    hit = next(event for event in events if event.kind == "collision")
    one, other = left.at(hit.start_s), right.at(hit.start_s)
    assert one is not None and other is not None
    assert math.dist(one, other) == pytest.approx(0.08 + 0.17)
    (door,), (shut,) = slam([body(shape="door")], 5.0, generator)
    assert isinstance(door, Swing)
    assert door.angle(shut.start_s - 1e-6) == pytest.approx(0, abs=1e-4)
    (walker,), steps = walk([body(shape="shoe")], 5.0, generator)
    assert isinstance(walker, Walk)
    for step in steps:
        feet = walker.feet(step.start_s)
        assert min(abs(x - step.x_m) + y for x, y in feet) == pytest.approx(0, abs=1e-9)
    (_, *shards), (broken, *landings) = shatter([body(shape="ball")], 5.0, generator)
    for shard, landing in zip(shards, landings, strict=True):
        assert isinstance(shard, Way)
        before = shard.at(landing.start_s - 1e-9)
        assert before is not None and before[1] == pytest.approx(shard.body.radius_m, abs=1e-6)
        assert landing.start_s > broken.start_s
    (drops,), (wet,) = rain([body()], 5.0, generator)
    assert isinstance(drops, Rain)
    assert wet.hits_s == pytest.approx(drops.hits_s, abs=1e-6)


@pytest.mark.parametrize("material", MATERIALS, ids=lambda material: material.name)
def test_pitch_comes_from_size_and_decay_from_material(material: Material) -> None:
    name = material.name
    impact = Event("impact", 0, 0, 0, 3.0, 1.0)
    for radius_m in (RADII_M[0], RADII_M[-1]):
        sound = struck(body(radius_m, name), impact, np.random.default_rng(0))
        spectrum = np.abs(np.fft.rfft(sound, 1 << 17))
        loudest_hz = float(spectrum.argmax()) * AUDIO48_HZ / (1 << 17)
        assert loudest_hz == pytest.approx(pitch_hz(body(radius_m, name)), rel=0.03)
    # The lowest mode alone is left at the end: its level falls by 60 dB in t60_s.
    edges = [int(share * len(sound)) for share in (0.45, 0.65, 0.85)]
    early, late = (float(np.sqrt(np.mean(sound[a:b] ** 2))) for a, b in itertools.pairwise(edges))
    fall_db = 20 * math.log10(early / late)
    assert fall_db == pytest.approx(60 * 0.2 * len(sound) / AUDIO48_HZ / material.t60_s, rel=0.15)


def test_level_comes_from_speed() -> None:
    def peak(speed: float) -> float:
        event = Event("impact", 0.1, 0.1, 0, speed, 1.0)
        assert 20 * math.log10(
            float(np.abs(render([event], [body()], 1.0, np.random.default_rng(0))).max())
        ) == pytest.approx(level_dbfs(event), abs=0.01)
        return level_dbfs(event)

    assert peak(4.0) - peak(2.0) == pytest.approx(20 * math.log10(2))


def test_what_floats_makes_no_sound_and_a_recording_is_never_empty() -> None:
    floats = Event("drift", 0.0, 1.0, 0, 0.0, 1.0)
    assert not render([floats], [body()], 1.0, np.random.default_rng(0)).any()
    noise = room_noise(1.0, np.random.default_rng(0))
    assert 20 * math.log10(float(np.sqrt(np.mean(noise**2)))) == pytest.approx(-66, abs=0.1)


def test_held_out_pairs_and_templates_are_in_test_clips_and_no_other_is() -> None:
    seen = {split: set[bool]() for split in ("train", "validation", "test")}
    templates = {split: set[str]() for split in seen}
    for plan in PLANS:
        names = [material.name for material in MATERIALS]
        seen[plan.split] |= {is_held_out(b.size, names.index(b.material)) for b in plan.bodies}
        templates[plan.split] |= {plan.template} - {""}
    assert seen == {"train": {False}, "validation": {False}, "test": {True}}
    assert templates["test"] and not templates["test"] & (
        templates["train"] | templates["validation"]
    )
    # A Latin square: every size and every material is trained on, only not together.
    held = [(s, m) for s in range(5) for m in range(5) if is_held_out(s, m)]
    assert sorted(s for s, _ in held) == sorted(m for _, m in held) == list(range(5))


def test_every_kind_of_clip_and_every_actor_comes() -> None:
    assert {plan.kind for plan in PLANS} == {"sound", "speech", "both", "mouthing", "nothing"}
    kinds = {event.kind for plan in PLANS for event in plan.scene.events}
    assert kinds == {
        "impact", "collision", "roll", "slam", "step", "break", "shard", "rain", "drift",
    }  # fmt: skip
    assert len(ACTORS) == 7
    assert {plan.mouth for plan in PLANS if plan.kind == "sound"} == {None, "still", "moves"}
    assert all(
        any(event.is_heard for event in plan.scene.events) == (plan.kind in ("sound", "both"))
        for plan in PLANS
    )


def test_stems_sum_to_the_mix_at_the_ratio_that_was_asked_for() -> None:
    plan = some("both", split="train")
    clip = make_clip(plan, WORLD)
    tracks = clip.tracks
    assert tracks.speech is not None and tracks.sound is not None and plan.snr_db is not None
    assert np.array_equal(tracks.mix, tracks.speech + tracks.sound)
    spoken = np.zeros(len(tracks.mix), bool)
    for _, start_s, end_s in clip.truth["words"]:
        spoken[round(start_s * AUDIO48_HZ) : round(end_s * AUDIO48_HZ)] = True
    voice = np.mean((tracks.speech[spoken] / 32_767.0) ** 2)
    blocks = (tracks.sound[: 66 * 1440] / 32_767.0).reshape(-1, 1440)
    power = np.mean(blocks**2, axis=1)
    rest = power[power >= power.max() / 1000].mean()
    assert 10 * math.log10(voice / rest) == pytest.approx(plan.snr_db, abs=0.3)
    assert not tracks.speech[~np.convolve(spoken, np.ones(19_200), "same").astype(bool)].any()


def test_a_written_clip_gives_back_its_sound_first_and_its_stems_behind(tmp_path: Path) -> None:
    import av

    from tasks.container import choose_streams, open_media

    clip = make_clip(some("both"), WORLD)
    path = tmp_path / "clip.mkv"
    write_clip(clip, path)
    with open_media(str(path)) as source:
        _, sound = choose_streams(source)
        assert sound is not None and sound.metadata["title"] == "mix"
    kept = []
    with av.open(str(path)) as source:
        assert sum(1 for _ in source.decode(video=0)) == 50
    for index in range(3):
        with av.open(str(path)) as source:
            frames = [frame.to_ndarray()[0] for frame in source.decode(audio=index)]
        kept.append(np.concatenate(frames))
    tracks = (clip.tracks.mix, clip.tracks.speech, clip.tracks.sound)
    assert all(np.array_equal(a, b) for a, b in zip(kept, tracks, strict=True) if b is not None)


def test_what_is_silent_says_nothing_whatever_its_mouth_does() -> None:
    clip = make_clip(some("mouthing"), WORLD)
    assert clip.truth["text"] is None and clip.truth["mouth"] == "moves"
    assert clip.truth["words"] == clip.truth["phones"] == []
    assert np.abs(clip.tracks.mix).max() < 100
