"""What moves in the staged world, exactly: paths in closed form, and the events in them.

The world is SPAN_M wide and as high; x runs to the right, y up from the floor. A path is pieces of
constant acceleration, so a contact has one time, which picture and sound are both drawn from.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.world_content import MATERIALS, Material

SPAN_M = 2.0
FLOOR_M = 0.30
"""How much of the picture lies below the floor's line."""
GRAVITY = 9.81
REST_MPS = 0.4
"""A body that would bounce more slowly stays on the floor."""
TOP_M = SPAN_M - FLOOR_M

Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Body:
    """A thing of a class of size and a material.

    Attributes:
        number: of the body in its clip, from 0.
        shape: ball, box, vase, door, shoe, rain or cloud.
        size: class of size, an index.
        radius_m: its radius.
        material: its material, by its name in MATERIALS, or water.
    """

    number: int
    shape: str
    size: int
    radius_m: float
    material: str

    @property
    def made_of(self) -> Material:
        """The material's properties; water rings as glass does."""
        return next((m for m in MATERIALS if m.name == self.material), MATERIALS[2])


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens, at a time or over a span.

    Attributes:
        kind: impact, collision, roll, slam, step, break, shard, rain or drift.
        start_s: when, or from when.
        end_s: until when; the same for what has no length.
        body: the number of the body that sounds.
        speed_mps: of the contact, or of the motion.
        x_m: where, from the left edge.
        other: the number of the body that it hits, or -1 for the floor or a frame.
        hits_s: contacts within a span that each make a sound.
        scale: size of what sounds as a multiple of the body's: a shard is a part of a vase, a door
            larger than the class of size that it is drawn from.
    """

    kind: str
    start_s: float
    end_s: float
    body: int
    speed_mps: float
    x_m: float
    other: int = -1
    hits_s: tuple[float, ...] = ()
    scale: float = 1.0

    @property
    def is_heard(self) -> bool:
        """Whether it makes a sound."""
        return self.kind != "drift"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a path, from a time on: place, speed, and whether gravity pulls."""

    start_s: float
    x_m: float
    y_m: float
    vx_mps: float = 0.0
    vy_mps: float = 0.0
    falls: bool = False

    def at(self, time_s: float) -> tuple[float, float]:
        """Where the body is at a time of this piece."""
        after = time_s - self.start_s
        drop = 0.5 * GRAVITY * after * after if self.falls else 0.0
        return self.x_m + self.vx_mps * after, self.y_m + self.vy_mps * after - drop


@dataclass(frozen=True, slots=True)
class Way:
    """A body's way: pieces in order of time; before the first and from `end_s` on it is not there.

    `rolls` says that it turns as it goes.
    """

    body: Body
    pieces: tuple[Piece, ...]
    end_s: float = math.inf
    rolls: bool = False

    def at(self, time_s: float) -> tuple[float, float] | None:
        """Where the body's centre is at a time, in metres above the floor."""
        if time_s >= self.end_s:
            return None
        known = [piece for piece in self.pieces if piece.start_s <= time_s]
        return known[-1].at(time_s) if known else None


@dataclass(frozen=True, slots=True)
class Swing:
    """A door: its angle from closed, in radians, at given times, in straight lines or falling."""

    body: Body
    x_m: float
    height_m: float
    open_rad: float
    opens_s: float
    closes_s: float
    slam_s: float

    def angle(self, time_s: float) -> float:
        """How far it is open: it opens evenly, waits, and falls shut faster and faster."""
        if time_s < self.opens_s:
            return 0.0
        if time_s < self.closes_s:
            share = (time_s - self.opens_s) / (0.7 * (self.closes_s - self.opens_s))
            return self.open_rad * min(share, 1.0)
        if time_s >= self.slam_s:
            return 0.0
        share = (time_s - self.closes_s) / (self.slam_s - self.closes_s)
        return self.open_rad * (1.0 - share * share)


@dataclass(frozen=True, slots=True)
class Walk:
    """A walker: when and where each foot comes down, one foot and the other in turn."""

    body: Body
    steps_s: tuple[float, ...]
    x_m: tuple[float, ...]
    swing_s: float

    def feet(self, time_s: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where both feet are; a foot swings in an arc that ends in its step."""
        return self._foot(0, time_s), self._foot(1, time_s)

    def _foot(self, which: int, time_s: float) -> tuple[float, float]:
        mine = range(which, len(self.steps_s), 2)
        ahead = next((step for step in mine if self.steps_s[step] > time_s), None)
        if ahead is None:
            return self.x_m[mine[-1]], 0.0
        stride_m = 2 * (self.x_m[1] - self.x_m[0])
        begin = self.x_m[ahead] - stride_m
        share = max(1.0 - (self.steps_s[ahead] - time_s) / self.swing_s, 0.0)
        return begin + stride_m * share, 0.4 * self.body.radius_m * 4 * share * (1 - share)


@dataclass(frozen=True, slots=True)
class Rain:
    """Drops that fall at one speed: when and where each meets the floor."""

    body: Body
    hits_s: NDArray[np.float64]
    x_m: NDArray[np.float64]
    speed_mps: float


@dataclass(frozen=True, slots=True)
class Drift:
    """A silent thing that floats: it swings about a place and touches nothing."""

    body: Body
    centre_m: tuple[float, float]
    reach_m: tuple[float, float]
    rate_hz: tuple[float, float]
    phase: tuple[float, float]

    def at(self, time_s: float) -> tuple[float, float]:
        """Where its centre is."""
        x, y = (
            centre + reach * math.sin(2 * math.pi * rate * time_s + phase)
            for centre, reach, rate, phase in zip(
                self.centre_m, self.reach_m, self.rate_hz, self.phase, strict=True
            )
        )
        return x, y


Mover = Way | Swing | Walk | Rain | Drift


@dataclass(slots=True)
class Scene:
    """All that moves in a clip, in the order in which it is drawn, and its events."""

    movers: list[Mover] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def take(self, other: tuple[list[Mover], list[Event]], seconds: float) -> None:
        """Adds what an actor does within a clip's length."""
        movers, events = other
        self.movers += movers
        self.events += [event for event in events if event.start_s < seconds - 0.02]


Actor = Callable[[list[Body], float, np.random.Generator], tuple[list[Mover], list[Event]]]


def bounces(
    body: Body, start_s: float, x_m: float, y_m: float, vx_mps: float, vy_mps: float = 0.0
) -> tuple[list[Piece], list[Event], float]:
    """A body's fall with its bounces: pieces, impacts, and when it comes to rest."""
    pieces, events = [], []
    radius, loss = body.radius_m, body.made_of.restitution
    at_s, y = start_s, y_m
    while True:
        pieces.append(Piece(at_s, x_m, y, vx_mps, vy_mps, falls=True))
        speed = math.sqrt(vy_mps * vy_mps + 2 * GRAVITY * max(y - radius, 0.0))
        after = (vy_mps + speed) / GRAVITY
        at_s, x_m, y = at_s + after, x_m + vx_mps * after, radius
        events.append(Event("impact", at_s, at_s, body.number, speed, x_m))
        vy_mps = speed * loss
        vx_mps *= 0.8
        if vy_mps < REST_MPS:
            pieces.append(Piece(at_s, x_m, y))
            return pieces, events, at_s
