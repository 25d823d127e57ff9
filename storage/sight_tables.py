"""The tables of who is seen in a clip, who speaks, and whether sound and picture fit in time."""

from storage.clip_tables import CLIP
from storage.columns import BOOL, DOUBLE, INT, STRING, Column, Table, optional, table

C = Column

SIGHT_TABLES: tuple[Table, ...] = (
    table(
        "faces",
        "A face that was followed through a clip; the feature `mouth` holds its mouth at 25 Hz.",
        "clip_id track",
        CLIP,
        C("track", INT, "Place in the clip's `mouth`, from 0: the longest seen first.", "", "1"),
        C("start_s", DOUBLE, "First seen, relative to the clip.", "s", "0.0"),
        C("end_s", DOUBLE, "Last seen, relative to the clip.", "s", "8.75"),
        C("seen_s", DOUBLE, "How long it is seen in all.", "s", "8.75"),
        C("box_left", DOUBLE, "Mean box: left edge, of the whole frame's width.", "0..1", "0.5679"),
        C("box_top", DOUBLE, "Mean box: top edge, of the whole frame's height.", "0..1", "0.1532"),
        C("box_right", DOUBLE, "Mean box: right edge.", "0..1", "0.7012"),
        C("box_bottom", DOUBLE, "Mean box: bottom edge.", "0..1", "0.3308"),
        C("size_px", DOUBLE, "Mean of the box's longer side, in the source.", "px", "42.76"),
        C("score", DOUBLE, "Mean score of the face detector.", "0..1", "0.9062"),
        C("mesh_score", DOUBLE, "Mean score of the face mesh.", "0..1", "0.9997"),
        C(
            "mouth_opening",
            DOUBLE,
            "Mean distance of the inner lips over that of the outer corners of the eyes.",
            "ratio",
            "0.0932",
        ),
    ),
    table(
        "talks",
        "Whether a face in a clip of speech is the one that speaks: its mouth against the sound.",
        "clip_id track",
        CLIP,
        C("track", INT, "The face in `faces`.", "", "1"),
        C("activity", DOUBLE, "Deviation of the mouth's opening in speech.", "ratio", "0.0317"),
        C(
            "correlation",
            DOUBLE,
            "Of mouth and speech envelope at the best lag.",
            "-1..1",
            "0.7239",
        ),
        optional(
            "offset_s",
            DOUBLE,
            "That lag less the 50 ms by which a mouth leads its voice: positive is sound late.",
            "s",
            "0.0507",
        ),
        C(
            "confidence",
            DOUBLE,
            "Probability that the sound with its pieces shuffled agrees less well with the mouth.",
            "0..1",
            "0.9847",
        ),
        C("talks", BOOL, "Moves enough and is sure enough to be the speaker.", "", "true"),
    ),
    table(
        "syncs",
        "How far picture and sound of a clip are apart, how sure that is, and who is on screen.",
        "clip_id",
        CLIP,
        C(
            "method",
            STRING,
            "mouth (opening against speech) or onset (motion against sound).",
            "",
            "mouth",
        ),
        optional(
            "offset_s",
            DOUBLE,
            "Positive: the sound is late. NULL where nothing moves, sounds, or lasts 2 s.",
            "s",
            "0.0507",
        ),
        C("correlation", DOUBLE, "Normalised correlation at the offset.", "-1..1", "0.7239"),
        C(
            "confidence",
            DOUBLE,
            "Probability that the sound with its pieces shuffled agrees less well at its best lag: "
            "one in twenty clips whose sound is not theirs passes 0.95. At most 0.995.",
            "0..1",
            "0.9847",
        ),
        optional("track", INT, "The face that speaks, where the method is mouth.", "", "1"),
        optional(
            "on_screen",
            BOOL,
            "A face that is seen speaks; NULL without speech, or where faces were not looked for.",
            "",
            "true",
        ),
    ),
)
