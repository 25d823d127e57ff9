"""The form of a mixture's recipe: every field with its meaning, unit and limits.

`mix_plan` writes recipes as plain dicts. What comes from outside is checked against this form
before anything is rendered of it, and docs/mixtures.md lists the fields from here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.mix_plan import RECIPE_VERSION, Recipe

MAX_DURATION_S = 600.0  # a recipe from outside shall not take all memory
SHA256 = r"^[0-9a-f]{64}$"


class BadRecipe(ValueError):
    """A recipe that no mixture can be rendered of; the message names the field."""


def _told(text: str, unit: str = "", **limits: Any) -> Any:
    return Field(description=text, json_schema_extra={"unit": unit}, **limits)


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


Clip = Annotated[str, _told("Clip that the sound is of.", min_length=1, max_length=64)]
Sound = Annotated[str, _told("sha256 of its source's decoded sound.", pattern=SHA256)]
Start = Annotated[float, _told("Start of the clip in that sound.", "s", ge=0, le=1e6)]
End = Annotated[float, _told("End of the clip in that sound.", "s", ge=0, le=1e6)]
Loop = Annotated[
    float | None,
    _told("Length after which it repeats, cross-faded; null where it lasts.", "s", gt=0, le=1e6),
]
Instant = Annotated[float, Field(ge=0, le=MAX_DURATION_S)]
Span = Annotated[list[Instant], Field(min_length=2, max_length=2)]


class Room(_Form):
    """A room in which the speech is heard."""

    room_id: Annotated[str, _told("Room of the table `rooms`.", max_length=64)]
    response_sha256: Annotated[str, _told("sha256 of its impulse response.", pattern=SHA256)]
    t60_s: Annotated[float, _told("Its reverberation time.", "s", ge=0, le=60)]


class Band(_Form):
    """A filter of an equaliser."""

    kind: Annotated[Literal["low_shelf", "peaking", "high_shelf"], _told("Its shape.")]
    centre_hz: Annotated[float, _told("Its centre.", "Hz", gt=0, le=24_000)]
    gain_db: Annotated[float, _told("Its gain.", "dB", ge=-60, le=60)]
    q: Annotated[float, _told("Its quality.", "ratio", gt=0, le=100)]


class Colour(_Form):
    """Another microphone."""

    kind: Literal["colour"]
    bands: Annotated[list[Band], _told("Seven filters, low to high.", min_length=7, max_length=7)]


class Clipping(_Form):
    """A stage that is driven too hard."""

    kind: Literal["clipping"]
    threshold_db: Annotated[
        float, _told("How far below the sound's peak it is cut off.", "dB", ge=0, le=100)
    ]


class BandLimit(_Form):
    """A telephone or a small radio."""

    kind: Literal["band_limit"]
    low_hz: Annotated[float, _told("Lower corner.", "Hz", gt=0, le=24_000)]
    high_hz: Annotated[float, _told("Upper corner.", "Hz", gt=0, le=24_000)]
    rolloff_db: Annotated[Literal[12, 18, 24], _told("Steepness of either side.", "dB an octave")]


class Codec(_Form):
    """A lossy codec at a low rate."""

    kind: Literal["codec"]
    codec: Annotated[Literal["mp3"], _told("Which codec.")]
    kbps: Annotated[int, _told("Bit rate.", "kbit/s", ge=8, le=320)]


class Film(_Form):
    """An old optical sound track."""

    kind: Literal["film"]
    low_hz: Annotated[float, _told("Lower corner.", "Hz", gt=0, le=24_000)]
    high_hz: Annotated[float, _told("Upper corner.", "Hz", gt=0, le=24_000)]
    hiss_db: Annotated[float, _told("Level of the hiss.", "dB", ge=-200, le=0)]
    ticks_per_s: Annotated[float, _told("How often it ticks.", "1/s", ge=0, le=1000)]
    tick_db: Annotated[float, _told("Level of the ticks.", "dB", ge=-200, le=0)]
    flutter: Annotated[float, _told("Depth of the change of level.", "0..1", ge=0, le=1)]
    hum_db: Annotated[float, _told("Level of the hum.", "dB", ge=-200, le=0)]
    key: Annotated[int, _told("What hiss and ticks are drawn from.", ge=0, lt=1 << 32)]


DEVICES = (Colour, Clipping, BandLimit, Codec, Film)
Device = Annotated[Colour | Clipping | BandLimit | Codec | Film, Field(discriminator="kind")]
Devices = Annotated[
    list[Device], _told("What the stem passes through, in this order; none as [].", max_length=16)
]


class Speech(_Form):
    """The speech."""

    clip_id: Clip
    audio_sha256: Sound
    start_s: Start
    end_s: End
    at_s: Annotated[float, _told("Where in the mixture the clip begins, on a 0.2 s grid.", "s")]
    spans_s: Annotated[
        list[Span],
        _told("Starts and ends of speech, from the clip's start.", "s", max_length=10_000),
    ]
    room: Annotated[Room | None, _told("Room in which it is heard; null is none.")]
    devices: Devices


class Ducking(_Form):
    """How the ambience gives way to the speech."""

    depth_db: Annotated[float, _told("How far.", "dB", ge=0, le=60)]
    attack_s: Annotated[float, _told("How long before each span it begins to.", "s", gt=0, le=60)]
    release_s: Annotated[float, _told("How long after each span it comes back.", "s", gt=0, le=60)]


class Ambience(_Form):
    """The ambience."""

    clip_id: Clip
    audio_sha256: Sound
    start_s: Start
    end_s: End
    offset_s: Annotated[float, _told("Where in the clip the mixture begins.", "s", ge=0, le=1e6)]
    loop_s: Loop
    ducking: Annotated[Ducking | None, _told("How it gives way to the speech; null: not.")]
    devices: Devices


class Requested(_Form):
    """The level that is asked for; exactly one where there are speech and ambience."""

    snr_db: Annotated[float | None, _told("SNR on speech-active frames.", "dB", ge=-100, le=100)]
    loudness_difference_lu: Annotated[
        float | None, _told("Loudness of speech over ambience.", "LU", ge=-100, le=100)
    ]


class Master(_Form):
    """What the finished mix must be."""

    loudness_lufs: Annotated[float, _told("Loudness of the mix.", "LUFS", ge=-70, le=0)]
    true_peak_dbtp: Annotated[float, _told("Highest true peak.", "dBTP", ge=-60, le=0)]


class Picture(_Form):
    """A picture under the sound."""

    clip_id: Annotated[str, _told("Clip that is seen.", max_length=64)]
    at_s: Annotated[float, _told("Where in the mixture it begins.", "s", ge=0)]
    length_s: Annotated[float, _told("How long it is seen.", "s", gt=0)]
    offset_s: Annotated[float, _told("Where in the clip it begins.", "s", ge=0)]
    loop_s: Loop


class Compose(_Form):
    """How two pictures become one."""

    kind: Annotated[Literal["cut", "inset"], _told("The second in place of, or over, the first.")]
    corner: Annotated[
        Literal["top_left", "top_right", "bottom_left", "bottom_right"] | None,
        _told("Corner of an inset."),
    ] = None
    share: Annotated[
        float | None, _told("Width of an inset, of the picture's.", "0..1", gt=0, le=1)
    ] = None


class Said(_Form):
    """Whose words are said."""

    clip_id: Annotated[str, _told("Clip whose phonemes are said.", max_length=64)]
    at_s: Annotated[float, _told("Where in the mixture it begins.", "s", ge=0)]


class Conditions(_Form):
    """What is seen and said under the sound."""

    combine: Annotated[Literal["add", "insert"], _told("How conditions combine: the mode.")]
    picture: Annotated[
        list[Picture], _told("None to two; the second lies over the first.", max_length=2)
    ]
    compose: Annotated[
        Compose | None, _told("How two pictures become one; null: their features are combined.")
    ]
    phonemes: Annotated[Said | None, _told("Whose phonemes are said; null is nobody's.")]


class MixtureForm(_Form):
    """A whole recipe."""

    version: Annotated[Literal[2], _told("Version of this form.")]
    mode: Annotated[
        Literal["add", "insert"],
        _told("add lays ambience under the speech, insert silences it over the speech clip."),
    ]
    regime: Annotated[
        Literal["broadcast", "location", "hard", "speech_only", "ambience_only", "scaper"],
        _told("Law that the level was drawn by; `scaper` for what a Scaper file asked."),
    ]
    seed: Annotated[int, _told("Seed of the build's recipe.")]
    drawn_for: Annotated[str, _told("Speech clip and take that it was planned for.", max_length=99)]
    rate_hz: Annotated[Literal[16_000, 48_000], _told("Sample rate.", "Hz")]
    duration_s: Annotated[float, _told("Length.", "s", gt=0, le=MAX_DURATION_S)]
    requested: Annotated[Requested, _told("Level that is asked for: one, or none to compare.")]
    speech: Annotated[Speech | None, _told("The speech; null in ambience_only.")]
    ambience: Annotated[Ambience | None, _told("The ambience; null in speech_only.")]
    fade_ms: Annotated[
        float, _told("Length of edge fades and of every cross-fade.", "ms", ge=0, le=1000)
    ]
    frame_ms: Annotated[
        float, _told("Length of frames on which speech counts.", "ms", ge=1, le=1000)
    ]
    master: Annotated[Master, _told("What the finished mix must be.")]
    conditions: Annotated[Conditions, _told("What is seen and said under the sound.")]


def checked_recipe(value: Any) -> Recipe:
    """A recipe from outside as `plan_recipe` writes it: numbers that are seconds are floats.

    Raises BadRecipe, which names the first field that is not as it must be.
    """
    if isinstance(value, dict) and value.get("version") != RECIPE_VERSION:
        raise BadRecipe(
            f"recipe.version={value.get('version')!r}: this is version {RECIPE_VERSION}; "
            "build the mixture again"
        )
    try:
        recipe = MixtureForm.model_validate(value).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("recipe", *first["loc"])))
        raise BadRecipe(f"{where}={first['input']!r:.80}: {first['msg']}") from None
    for name in ("speech", "ambience"):
        if recipe[name] and recipe[name]["end_s"] <= recipe[name]["start_s"]:
            raise BadRecipe(
                f"recipe.{name}: it ends at {recipe[name]['end_s']} s, before it begins"
            )
    asked = [level for level in recipe["requested"].values() if level is not None]
    parents = [recipe[name] for name in ("speech", "ambience") if recipe[name]]
    if not parents or len(asked) != len(parents) - 1:
        raise BadRecipe(f"recipe.requested: {len(asked)} levels for {len(parents)} sounds")
    if recipe["speech"] and not 0 <= recipe["speech"]["at_s"] < recipe["duration_s"]:
        raise BadRecipe(f"recipe.speech.at_s={recipe['speech']['at_s']}: it lies outside")
    return recipe
