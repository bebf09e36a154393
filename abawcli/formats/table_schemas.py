"""The columns of prediction tables, by task: names, types, and decimals in csv.

Tables of expressions have these columns, in this order:

    video, subject        text: which video, which person in it
    frame, time_s         number from 1; presentation time in seconds, missing if it is unknown,
                          as for crops without their video
    found, face_score     whether there is a face, detected in this frame or interpolated between
                          two detections; score of the detection, 0..1
    x, y, w, h            the face's box in pixels of the displayed frame
    source                what the label is based on: av, visual, audio, filled, none
    label, confidence     class 0..7 and its probability; -1 and missing if source is none
    p_neutral .. p_other  probabilities with the sum 1; missing if source is none
    sharpness, yaw, roll, face_quality
                          quality of the face; missing in tables of older versions
    z_neutral .. z_other  optional: the logits of the network, before smoothing; the probabilities
                          are their softmax. Rounding and softmax lose their scale

Tables of tasks with values (`tasks`) have, in place of label, confidence and probabilities:

    valence, arousal      of va: -1..1; missing if source is none
    p_au1 .. p_au26       of au: probabilities of twelve action units; likewise
    AU1 .. AU26           of au: 1 where the unit is active, else 0
"""

from collections.abc import Hashable, Iterable

import pyarrow as pa

from abawcli.config import EXPR, QUALITY
from abawcli.labels import LOGIT_COLUMNS, PROBABILITY_COLUMNS
from abawcli.tasks import TASKS

PROBABILITIES = list(PROBABILITY_COLUMNS)
LOGITS = list(LOGIT_COLUMNS)
SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("frame", pa.int64()),
        ("time_s", pa.float64()),
        ("subject", pa.string()),
        ("found", pa.bool_()),
        *((name, pa.float64()) for name in ("face_score", "x", "y", "w", "h")),
        ("source", pa.string()),
        ("label", pa.int64()),
        *((name, pa.float64()) for name in ("confidence", *PROBABILITY_COLUMNS, *QUALITY)),
    ]
)
COLUMNS: list[str] = SCHEMA.names
LOGIT_FIELDS = [pa.field(name, pa.float64()) for name in LOGITS]
_FRAME_FIELDS = list(SCHEMA)[: SCHEMA.get_field_index("label")]
SCHEMAS = {EXPR: SCHEMA} | {
    name: pa.schema(
        [
            *_FRAME_FIELDS,
            *(
                pa.field(each, pa.float64())
                for each in dict.fromkeys((*task.outputs, *task.columns, *QUALITY))
            ),
        ]
    )
    for name, task in TASKS.items()
}
# Columns of what a network gives, by task.
OUTPUTS = {EXPR: PROBABILITIES} | {name: list(task.outputs) for name, task in TASKS.items()}
TITLES = {EXPR: "expressions"} | {name: task.title for name, task in TASKS.items()}
INTERVAL = ("onset", "offset", "duration")  # of annotations, in seconds
TYPES: dict[str, pa.DataType] = {
    field.name: field.type for schema in SCHEMAS.values() for field in schema
} | dict.fromkeys((*INTERVAL, *LOGITS), pa.float64())
# pandas writes whole numbers in a column with gaps as 4.0, so numbers are read as floats first.
# Labels may be names, and are read as text.
CSV_TYPES = {name: pa.float64() if kind == pa.int64() else kind for name, kind in TYPES.items()} | {
    "label": pa.string()
}
ALWAYS_PRESENT = ("video", "frame", "subject", "found", "source", "label")
# Decimals in csv. Microseconds are finer than the clocks of common containers. Eight probabilities
# of 6 digits sum to 1 within 4e-6.
DECIMALS = (
    {"time_s": 6, "face_score": 4, "x": 2, "y": 2, "w": 2, "h": 2, "confidence": 6}
    | {name: 6 for name in LOGITS}
    | {name: 0 for task in TASKS.values() for name in task.columns}
    | {name: 6 for outputs in OUTPUTS.values() for name in outputs}
    | {"sharpness": 3, "yaw": 1, "roll": 1, "face_quality": 3}
)


def find_table_task(columns: Iterable[Hashable]) -> str | None:
    """Return the task of a table with these columns; None if they are of no task."""
    there = set(columns)
    return next((task for task, outputs in OUTPUTS.items() if there.issuperset(outputs)), None)
