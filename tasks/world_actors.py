"""What can happen in the staged world: each actor moves its bodies and says what is to be heard."""

import math
from dataclasses import replace

import numpy as np

from tasks.world_motion import (
    GRAVITY,
    SPAN_M,
    TOP_M,
    Actor,
    Body,
    Drift,
    Event,
    Mover,
    Piece,
    Rain,
    Swing,
    Walk,
    Way,
    bounces,
)

Done = tuple[list[Mover], list[Event]]
DOOR_SCALE = 4.0
SHOE_SCALE = 2.0


def drop(bodies: list[Body], seconds: float, generator: np.random.Generator) -> Done:
    """A body is let go, or comes in from above, and bounces until it lies."""
    (body,) = bodies
    x_m = float(generator.uniform(0.9, 1.8))
    vx_mps = float(generator.uniform(-0.12, 0.12))
    start_s = float(generator.uniform(0.1, max(seconds - 1.2, 0.2)))
    if generator.random() < 0.5:
        y_m = float(generator.uniform(0.5, TOP_M - body.radius_m))
        held = [Piece(-1.0, x_m, y_m)]
    else:
        y_m, held = TOP_M + 2 * body.radius_m, []
    pieces, events, _ = bounces(body, start_s, x_m, y_m, vx_mps)
    return [Way(body, (*held, *pieces))], events


def roll(bodies: list[Body], seconds: float, generator: np.random.Generator) -> Done:
    """A body rolls through the picture along the floor."""
    (body,) = bodies
    speed = float(generator.uniform(0.5, 1.4))
    to_the_right = bool(generator.random() < 0.5)
    start_s = float(generator.uniform(0.0, max(seconds - 2.0, 0.1)))
    path = _rolling(body, start_s, speed if to_the_right else -speed, seconds)
    return [path], [_rolled(path, seconds)]


def collide(bodies: list[Body], seconds: float, generator: np.random.Generator) -> Done:
    """Two bodies roll towards each other and part again."""
    left, right = bodies
    fast = float(generator.uniform(0.6, 1.3))
    slow = -float(generator.uniform(0.4, 1.1))
    # Bodies of two sizes on one floor touch where the line between their centres slopes.
    apart_m = 2 * math.sqrt(left.radius_m * right.radius_m)
    meet_m = float(generator.uniform(0.7, 1.3))
    meet_s = float(generator.uniform(1.0, max(seconds - 0.8, 1.1)))
    bounce = 0.85
    heavy, light = left.radius_m**3, right.radius_m**3
    centre = (heavy * fast + light * slow) / (heavy + light)
    after = [centre - bounce * (speed - centre) for speed in (fast, slow)]
    movers: list[Mover] = []
    events: list[Event] = []
    ends = ((left, fast, after[0], -apart_m / 2), (right, slow, after[1], apart_m / 2))
    for body, before, later, offset_m in ends:
        x_m = meet_m + offset_m
        first = Piece(-1.0, x_m - before * (meet_s + 1.0), body.radius_m, before)
        path = Way(body, (first, Piece(meet_s, x_m, body.radius_m, later)), rolls=True)
        movers.append(path)
        events.append(_rolled(path, seconds))
    speed = fast - slow
    events.append(Event("collision", meet_s, meet_s, left.number, speed, meet_m, right.number))
    events.append(Event("collision", meet_s, meet_s, right.number, speed, meet_m, left.number))
    return movers, events


def slam(bodies: list[Body], seconds: float, generator: np.random.Generator) -> Done:
    """A door opens without a sound and falls shut."""
    (body,) = bodies
    x_m = float(generator.uniform(1.1, 1.4))
    closes_s = float(generator.uniform(0.9, max(seconds - 1.0, 1.0)))
    falls_s = float(generator.uniform(0.25, 0.6))
    height_m = 0.7 + 3.2 * body.radius_m
    opens_s = max(closes_s - float(generator.uniform(0.8, 1.6)), 0.0)
    angle = float(generator.uniform(0.9, 1.35))
    door = Swing(body, x_m, height_m, angle, opens_s, closes_s, closes_s + falls_s)
    # The edge's speed when it meets the frame: the angle falls as the square of time.
    speed = 2 * angle / falls_s * 0.4 * height_m
    at_s = door.slam_s
    return [door], [Event("slam", at_s, at_s, body.number, speed, x_m, scale=DOOR_SCALE)]


def walk(bodies: list[Body], seconds: float, generator: np.random.Generator) -> Done:
    """Somebody walks through the picture; each foot that comes down is heard."""
    (body,) = bodies
    every_s = float(generator.uniform(0.4, 0.7))
    stride_m = float(generator.uniform(0.28, 0.42))
    sign = 1.0 if generator.random() < 0.5 else -1.0
    first_s = float(generator.uniform(0.1, every_s))
    count = max(int((seconds - first_s) / every_s) + 1, 2)
    steps_s = tuple(first_s + every_s * step for step in range(count))
    middle = float(generator.uniform(0.8, 1.2))
    x_m = tuple(middle + sign * stride_m * (step - count / 2) for step in range(count))
    speed = 1.5 * stride_m / every_s
    inside = [step for step in range(count) if 0 <= x_m[step] <= SPAN_M]
    events = [
        Event("step", steps_s[step], steps_s[step], body.number, speed, x_m[step], scale=SHOE_SCALE)
        for step in inside
    ]
    return [Walk(body, steps_s, x_m, 1.2 * every_s)], events


def rain(bodies: list[Body], seconds: float, generator: np.random.Generator) -> Done:
    """It rains for a while: each drop is heard where it meets the floor."""
    body = replace(bodies[0], shape="rain", material="water")
    start_s = float(generator.uniform(0.0, seconds / 3))
    end_s = float(generator.uniform(start_s + seconds / 3, seconds))
    rate_hz = float(generator.uniform(25, 90))
    speed = float(generator.uniform(3.0, 5.0))
    hits_s = np.sort(
        generator.uniform(start_s, end_s, generator.poisson(rate_hz * (end_s - start_s)))
    )
    x_m = generator.uniform(0, SPAN_M, len(hits_s))
    if not len(hits_s):
        return [], []
    hits = tuple(np.round(hits_s, 6).tolist())
    event = Event("rain", hits[0], hits[-1], body.number, speed, SPAN_M / 2, hits_s=hits)
    return [Rain(body, hits_s, x_m, speed)], [event]


def shatter(bodies: list[Body], seconds: float, generator: np.random.Generator) -> Done:
    """A vase falls, breaks where it lands, and its shards land around it."""
    vase = replace(bodies[0], shape="vase")
    x_m = float(generator.uniform(1.0, 1.7))
    y_m = float(generator.uniform(0.8, TOP_M - vase.radius_m))
    start_s = float(generator.uniform(0.2, max(seconds - 1.6, 0.3)))
    fall, (landing, *_), _ = bounces(vase, start_s, x_m, y_m, 0.0)
    at_s, speed = landing.start_s, landing.speed_mps
    movers: list[Mover] = [Way(vase, (Piece(-1.0, x_m, y_m), fall[0]), end_s=at_s)]
    events = [Event("break", at_s, at_s, vase.number, speed, x_m)]
    for _ in range(int(generator.integers(4, 8))):
        scale = float(generator.uniform(0.25, 0.45))
        shard = replace(vase, shape="shard", radius_m=vase.radius_m * scale)
        up, out = generator.uniform(0.8, 0.45 * speed + 1.0), generator.uniform(-0.7, 0.7)
        up, out = float(up), float(out)
        lands_s = at_s + 2 * up / GRAVITY
        pieces = (
            Piece(at_s, x_m, shard.radius_m, out, up, falls=True),
            Piece(lands_s, x_m + out * 2 * up / GRAVITY, shard.radius_m),
        )
        movers.append(Way(shard, pieces))
        where = x_m + out * 2 * up / GRAVITY
        events.append(Event("shard", lands_s, lands_s, vase.number, up, where, scale=scale))
    return movers, events


def drift(body: Body, seconds: float, generator: np.random.Generator) -> Done:
    """Something floats by without a sound."""
    body = replace(body, shape="cloud", material="air")
    mover = Drift(
        body,
        (float(generator.uniform(0.5, 1.5)), float(generator.uniform(0.9, 1.4))),
        (float(generator.uniform(0.1, 0.5)), float(generator.uniform(0.05, 0.2))),
        (float(generator.uniform(0.1, 0.5)), float(generator.uniform(0.1, 0.6))),
        (float(generator.uniform(0, 6.28)), float(generator.uniform(0, 6.28))),
    )
    return [mover], [Event("drift", 0.0, seconds, body.number, 0.0, mover.centre_m[0])]


ACTORS: dict[str, tuple[Actor, int, float]] = {
    "drop": (drop, 1, 0.36),
    "collide": (collide, 2, 0.16),
    "roll": (roll, 1, 0.10),
    "slam": (slam, 1, 0.10),
    "rain": (rain, 1, 0.08),
    "walk": (walk, 1, 0.10),
    "shatter": (shatter, 1, 0.10),
}
"""What an actor does, how many bodies it takes, and how often it is drawn."""


def _rolling(body: Body, start_s: float, speed: float, seconds: float) -> Way:
    x_m = -body.radius_m if speed > 0 else SPAN_M + body.radius_m
    return Way(body, (Piece(start_s, x_m, body.radius_m, speed),), rolls=True)


def _rolled(path: Way, seconds: float) -> Event:
    """The span in which a rolling body is in the picture."""
    inside: list[float] = []
    for piece, after in zip(path.pieces, (*path.pieces[1:], None), strict=True):
        end_s = after.start_s if after else seconds
        radius = path.body.radius_m
        if piece.vx_mps:
            edges = sorted(
                piece.start_s + (edge - piece.x_m) / piece.vx_mps
                for edge in (-radius, SPAN_M + radius)
            )
        else:
            edges = [piece.start_s, end_s]
        low, high = max(edges[0], piece.start_s, 0.0), min(edges[1], end_s, seconds)
        inside += [low, high] if low < high else []
    speed = abs(path.pieces[0].vx_mps)
    first, last = (min(inside), max(inside)) if inside else (seconds, seconds)
    return Event("roll", first, last, path.body.number, speed, SPAN_M / 2)
