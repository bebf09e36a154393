"""Frame-level facial expression annotation of video, audio and vision together.

The names below are the library for Python users; they are loaded when they are first used, so that
`import abawcli` takes no time. docs/python.md shows them at work.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Predictor",
    "crop_video",
    "export",
    "extract_features",
    "predict_frames",
    "predict_video",
    "read_frames",
    "read_table",
    "score",
    "segment",
    "smooth",
    "summarize",
]

if TYPE_CHECKING:
    from abawcli.api import (
        Predictor,
        crop_video,
        export,
        extract_features,
        predict_frames,
        predict_video,
        read_frames,
        read_table,
        score,
        segment,
        smooth,
        summarize,
    )


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("abawcli.api"), name)


def __dir__() -> list[str]:
    """List the public names before they are loaded, too."""
    return sorted([*globals(), *__all__])
