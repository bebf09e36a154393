"""Extraction of features of a made clip by networks that are quick."""

from copy import copy
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from blob_faces import BlobDetector, picture
from media_files import AudioTrack, make_clicks, write_media
from tiny_models import save_face_encoder, save_voice_encoder

from abawcli.formats.features import Features, read_features
from abawcli.pipeline.feature_stream import Extractor
from abawcli.stages.extract import extract_features

CLICK_S = 1.3


@cache
def load_extractor(modality: str) -> Extractor:
    """Load tiny encoders of faces and voices."""
    with TemporaryDirectory() as folder:
        face = save_face_encoder(Path(folder) / "face.safetensors")
        voice = save_voice_encoder(Path(folder) / "voice.safetensors")
        return Extractor(str(face), str(voice), modality=modality, device="cpu")


def make_extractor(modality: str = "av", **settings: Any) -> Extractor:
    """Return an extractor with blobs as faces; without settings, its networks are shared."""
    if settings:
        made = Extractor(modality=modality, device="cpu", **settings)
    else:
        made = copy(load_extractor(modality))
    made.detector = BlobDetector()
    return made


def write_clip(folder: Path) -> Path:
    """Write a face on the left in frames 1-30, one on the right in 1-40, nothing in 41-48.

    Frames from 0.06 s to 2 s, audio from 0.4 s with a click at 1.3 s.
    """
    pictures = [picture(32 * (k < 30), 24 * (k < 40)) for k in range(48)]
    times = [3 + 2 * k + (k % 5 == 0) for k in range(48)]  # uneven, not from 0
    audio = AudioTrack([(0.4, make_clicks([CLICK_S - 0.4], 3.0, 48_000))], codec="pcm_s16le")
    return write_media(
        folder / "v.mkv", pictures, times=times, time_base=Fraction(1, 50), audio=audio
    )


def extract(path: Path, extractor: Extractor, output: Path, **settings: object) -> Features:
    assert extract_features(path, output, extractor, **settings).made  # type: ignore[arg-type]
    return read_features(output)
