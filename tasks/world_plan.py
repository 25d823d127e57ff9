"""What a clip of the staged world holds, drawn from (seed, number) and the voices at hand alone."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from storage.ids import hash_of
from tasks.draws import keyed_generator
from tasks.world_actors import ACTORS, drift
from tasks.world_content import (
    MATERIALS,
    RADII_M,
    RADIUS_SPREAD,
    Split,
    pairs_for,
    sentence,
    templates_for,
)
from tasks.world_face import Look, draw_look
from tasks.world_motion import Body, Scene
from tasks.world_picture import Film, draw_film

ClipKind = Literal["sound", "speech", "both", "mouthing", "nothing"]
MouthUse = Literal["speaks", "moves", "still"]
SHARES: dict[ClipKind, float] = {
    "sound": 0.40,
    "speech": 0.32,
    "both": 0.16,
    "mouthing": 0.06,
    "nothing": 0.06,
}
"""How often each kind of clip is drawn."""
SNR_DB = (-5.0, 10.0)
ROLLING = ("roll", "collide")
GENERATION = 1
"""Raised when the same seed and number give another clip."""

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Which world is staged.

    Attributes:
        seconds: length of a clip.
        seed: another seed gives another world.
        side_px: side of the square picture.
        voices: as `engine:voice`; other voices give other clips.
        test: share of clips in the test split, which alone have what is held out.
        validation: share of clips in the validation split.
    """

    seconds: Annotated[float, Field(ge=2, le=10)] = 5.0
    seed: int = 0
    side_px: Annotated[int, Field(ge=64, le=512)] = 128
    voices: tuple[str, ...] = ()
    test: Share = 0.1
    validation: Share = 0.05

    @property
    def digest(self) -> str:
        """What a clip's bytes depend on beside its number and the versions of libraries."""
        voices, shares = list(self.voices), [self.test, self.validation]
        return hash_of("world", GENERATION, self.seconds, self.seed, self.side_px, voices, shares)[
            :16
        ]


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What happens in a clip.

    Attributes:
        number: of the clip in its world.
        split: the split that its content belongs to.
        kind: of the clip.
        scene: what moves, and the events in it.
        bodies: by their numbers.
        template: of the sentence; empty where nobody speaks.
        text: the sentence.
        more_text: another that is said behind it where there is time; empty for none.
        voice: `engine:voice`.
        stretch: by how much slower than by itself the voice speaks.
        place: where in the free time the speech stands, from 0 to 1.
        snr_db: speech over sound, where there are both.
        mouth: what the mouth of the face does; None without a face.
        look: of the face.
        film: what camera and print do.
    """

    number: int
    split: Split
    kind: ClipKind
    scene: Scene
    bodies: list[Body]
    film: Film
    template: str = ""
    text: str = ""
    more_text: str = ""
    voice: str = ""
    stretch: float = 1.0
    place: float = 0.5
    snr_db: float | None = None
    mouth: MouthUse | None = None
    look: Look | None = None


@dataclass(slots=True)
class _Cast:
    """The bodies of a clip as they come."""

    split: Split
    generator: np.random.Generator
    bodies: list[Body] = field(default_factory=list)

    def body(self, shape: str) -> Body:
        """One more body of a pair that the split may have."""
        pairs = pairs_for(self.split)
        size, material = pairs[int(self.generator.integers(len(pairs)))]
        spread = float(self.generator.uniform(-RADIUS_SPREAD, RADIUS_SPREAD))
        radius_m = RADII_M[size] * (1 + spread)
        body = Body(len(self.bodies), shape, size, radius_m, MATERIALS[material].name)
        self.bodies.append(body)
        return body


def plan_clip(config: WorldConfig, number: int) -> ClipPlan:
    """The plan of one clip; raises ValueError where no voice is configured."""
    if not config.voices:
        raise ValueError("the world has no voice; give world.voices, such as espeak:en-us")
    generator = keyed_generator("world", config.seed, number)
    split = _split(float(generator.random()), config)
    kinds = list(SHARES)
    kind = kinds[int(generator.choice(len(kinds), p=list(SHARES.values())))]
    cast, scene = _Cast(split, generator), Scene()
    if kind in ("sound", "both"):
        _act(cast, scene, config.seconds)
    drifts = 0.3 if kind != "nothing" else 0.7
    for _ in range(int(generator.random() < drifts) + int(generator.random() < drifts / 2)):
        scene.take(drift(cast.body("cloud"), config.seconds, generator), config.seconds)
    plan = {"number": number, "split": split, "kind": kind, "scene": scene, "bodies": cast.bodies}
    plan["film"] = draw_film(generator)
    if kind in ("speech", "both"):
        templates = templates_for(split)
        first, second = (int(place) for place in generator.integers(len(templates), size=2))
        plan["template"] = templates[first]
        plan["text"] = sentence(templates[first], generator)
        plan["more_text"] = sentence(templates[second], generator)
        plan["voice"] = config.voices[int(generator.integers(len(config.voices)))]
        plan["stretch"] = float(generator.uniform(0.85, 1.2))
        plan["place"] = float(generator.random())
        plan["mouth"] = "speaks"
    if kind == "both":
        plan["snr_db"] = round(float(generator.uniform(*SNR_DB)), 3)
    if kind == "mouthing":
        plan["mouth"] = "moves"
    if kind == "sound" and generator.random() < 0.2:
        plan["mouth"] = "still" if generator.random() < 0.5 else "moves"
    if "mouth" in plan:
        plan["look"] = draw_look(generator)
    return ClipPlan(**plan)


def _split(draw: float, config: WorldConfig) -> Split:
    if draw < config.test:
        return "test"
    return "validation" if draw < config.test + config.validation else "train"


def _act(cast: _Cast, scene: Scene, seconds: float) -> None:
    """Puts actors with one to three bodies into a scene, until something is to be heard."""
    generator = cast.generator
    names, odds = list(ACTORS), np.array([odds for _, _, odds in ACTORS.values()])
    while not any(event.is_heard for event in scene.events):
        left = int(generator.integers(1, 4))
        while left:
            name = names[int(generator.choice(len(names), p=odds / odds.sum()))]
            actor, needs, _ = ACTORS[name]
            if needs > left:
                continue
            left -= needs
            boxed = name == "drop" and generator.random() < 0.35
            shapes = {"slam": "door", "walk": "shoe", "shatter": "vase", "rain": "rain"}
            shape = shapes.get(name, "box" if boxed else "ball")
            bodies = [cast.body(shape) for _ in range(needs)]
            scene.take(actor(bodies, seconds, generator), seconds)
