"""One colour for each class, the same in all pictures.

Seven colours of Okabe and Ito (2008), which people with common colour vision deficiencies can
distinguish, and a grey for Neutral, the most frequent class.
"""

from abawcli.labels import CLASSES
from abawcli.sources import AUDIO, AV, FILLED, NONE, VISUAL

COLOURS = {
    "Neutral": "#b3b3b3",
    "Anger": "#d55e00",
    "Disgust": "#009e73",
    "Fear": "#cc79a7",
    "Happiness": "#f0e442",
    "Sadness": "#0072b2",
    "Surprise": "#56b4e9",
    "Other": "#e69f00",
}
CLASS_COLOURS = tuple(COLOURS[name] for name in CLASSES)
# By source: a face (with or without audio), audio alone, neighbouring frames, nothing.
SOURCE_COLOURS = {
    AV: "#1a1a1a",
    VISUAL: "#5e5e5e",
    AUDIO: "#9970ab",
    FILLED: "#d9d9d9",
    NONE: "#ffffff",
}
SOURCE_TEXTS = {
    AV: "face and audio",
    VISUAL: "face",
    AUDIO: "audio",
    FILLED: "filled from neighbours",
    NONE: "no label",
}
