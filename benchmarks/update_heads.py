"""Let heads read other weights of their encoders, whose features are nearly what they were.

    python benchmarks/update_heads.py --head FILE ... --out DIR [--face FILE] [--voice FILE]

A head holds the classifier of an encoder, for frames of one modality, and the encoder's hash. Both
are replaced; the head's own network does not change. For a face encoder that was fine-tuned with
`abaw train face --feature-weight`, or a voice encoder of benchmarks/refit_voice.py.
`benchmarks/embedded_heads.py --embedded OUT` shows what the new features do to the heads.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from abawcli.formats.hashing import hash_file
from abawcli.models.checkpoint import Tensors, load_checkpoint, save_checkpoint
from abawcli.models.encoder import load_backbone
from abawcli.models.metadata import HeadMetadata, VoiceEncoderMetadata

FACE_CLASSIFIER, SPEECH_CLASSIFIER = "classifier.linear.", "speech_classifier."  # in a head


def swap_tensors(tensors: Tensors, others: Tensors, prefix: str) -> dict[str, Tensor]:
    """Return the tensors of a head, with others in place of those whose names have the prefix."""
    found = {k: others[k.removeprefix(prefix)] for k in tensors if k.startswith(prefix)}
    return {**tensors, **{k: value.to(tensors[k].dtype) for k, value in found.items()}}


def update_head(file: Path, out: Path, face: Path | None = None, voice: Path | None = None) -> None:
    """Write a head for the encoders `face` and `voice`; None: the encoder stays."""
    tensors, metadata = load_checkpoint(file, HeadMetadata)
    visual, audio = metadata.backbones.visual, metadata.backbones.audio
    if face:
        classifier = load_backbone(face)[1]  # calibrated
        tensors = swap_tensors(tensors, classifier.state_dict(), FACE_CLASSIFIER)
        visual = replace(visual, sha256=hash_file(face))
    if voice:
        assert audio, f"{file} reads no audio features"
        encoder, _ = load_checkpoint(voice, VoiceEncoderMetadata)
        tensors = swap_tensors(tensors, encoder, SPEECH_CLASSIFIER)
        audio = replace(audio, sha256=hash_file(voice))
    backbones = replace(metadata.backbones, visual=visual, audio=audio)
    save_checkpoint(out, tensors, replace(metadata, backbones=backbones))


def main() -> None:
    """Write the heads into a folder, by their names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--head", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--face", type=Path)
    parser.add_argument("--voice", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for head in options.head:
        update_head(head, options.out / head.name, options.face, options.voice)


if __name__ == "__main__":
    main()
