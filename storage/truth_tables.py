"""The tables of what is true of a source because it was made so: the staged world's own labels.

They stand beside what the stages find out (words, phonemes, tags, kinds), so that one query holds
both against each other.
"""

from storage.columns import BOOL, DOUBLE, INT, LONG, STRING, Column, Table, optional, table
from storage.source_tables import SOURCE

C = Column
POSITION = C("position", INT, "Place in the source, from 0.", "", "3")


def _span(what: str, start: str, end: str) -> tuple[Column, Column]:
    return (
        C("start_s", DOUBLE, f"When {what} begins, from the source's start.", "s", start),
        C("end_s", DOUBLE, f"When {what} ends.", "s", end),
    )


TRUTH_TABLES: tuple[Table, ...] = (
    table(
        "truths",
        "A source whose content is known exactly, by the manifest's column `truth`.",
        "source_id",
        SOURCE,
        C("kind", STRING, "sound, speech, both, mouthing (no voice) or nothing.", "", "both"),
        optional("world_seed", LONG, "Seed of its staged world.", "", "0"),
        optional("world_number", LONG, "Its number in that world.", "", "1207"),
        optional("text", STRING, "What is said; NULL for nothing.", "", "this dog sings again"),
        optional("voice", STRING, "Who says it, `engine:voice`.", "", "flite:slt"),
        optional("template", STRING, "Form of the first sentence.", "", "this N V R"),
        optional("mouth", STRING, "speaks, moves or still; NULL: no face.", "", "speaks"),
        optional(
            "snr_db",
            DOUBLE,
            "Power of the voice in its words over that of the rest where it sounds.",
            "dB",
            "3.21",
        ),
        optional("speech_stream", INT, "Sound stream with the voice alone.", "", "1"),
        optional("sound_stream", INT, "Sound stream with everything but the voice.", "", "2"),
    ),
    table(
        "true_events",
        "Something that happens in a source: when, to what, and how loud it is to be heard.",
        "source_id position",
        SOURCE,
        POSITION,
        C(
            "kind",
            STRING,
            "impact, collision, roll, slam, step, break, shard, rain or drift.",
            "",
            "impact",
        ),
        *_span("it", "1.204518", "1.204518"),
        C("heard", BOOL, "It makes a sound; else it is seen alone.", "", "true"),
        C("object", STRING, "What it happens to.", "", "ball"),
        C("body", INT, "Number of that object in the source.", "", "0"),
        optional("other", INT, "Number of what it hits; NULL: floor or frame.", "", "1"),
        optional("size_m", DOUBLE, "Size of the object, which gives its pitch.", "m", "0.214"),
        optional("material", STRING, "Its material, which gives its decay.", "", "metal"),
        optional("speed_mps", DOUBLE, "Speed of the contact or motion.", "m/s", "4.31"),
        optional("level_dbfs", DOUBLE, "Peak level of its sound alone.", "dBFS", "-11.9"),
        optional("pitch_hz", DOUBLE, "Lowest mode of the object.", "Hz", "785.0"),
        optional("x", DOUBLE, "Where in the picture, from the left.", "0..1", "0.62"),
    ),
    table(
        "true_words",
        "A word that is said in a source, with the synthesiser's own times.",
        "source_id position",
        SOURCE,
        POSITION,
        C("word", STRING, "The word.", "", "golden"),
        *_span("it", "1.284", "1.702"),
    ),
    table(
        "true_phonemes",
        "A phoneme that is said in a source, with the synthesiser's own times.",
        "source_id position",
        SOURCE,
        POSITION,
        C("phoneme", STRING, "IPA symbol.", "", "ɡ"),
        *_span("it", "1.284", "1.351"),
    ),
)
