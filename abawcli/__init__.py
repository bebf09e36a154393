"""Frame-level facial expression annotation of video, audio and vision together."""

__version__ = "0.1.0"
