"""One colour for each class, the same in all pictures.

Seven colours of Okabe and Ito (2008), which people with common colour vision deficiencies can
distinguish, and a grey for Neutral, the most frequent class.
"""

from abawcli.labels import CLASSES

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
    "av": "#1a1a1a",
    "visual": "#5e5e5e",
    "audio": "#9970ab",
    "filled": "#d9d9d9",
    "none": "#ffffff",
}
SOURCE_TEXTS = {
    "av": "face and audio",
    "visual": "face",
    "audio": "audio",
    "filled": "filled from neighbours",
    "none": "no label",
}
