"""`abaw extract`: visual and audio features."""

from operator import attrgetter
from pathlib import Path

import click

from abawcli.cli.batch import run_each
from abawcli.cli.console import progress_bar
from abawcli.cli.options import (
    audio_from_option,
    batch_size_option,
    choose_subject,
    device_option,
    inputs_argument,
    json_option,
    keep_suffix_option,
    output_option,
    overwrite_option,
    rotate_option,
    verbosity_options,
)
from abawcli.cli.summaries import Summaries
from abawcli.config import (
    COMPACT_FACE,
    COMPACT_VOICE,
    MODALITY_CHOICES,
    AudioFeatures,
    Prediction,
)

COLUMNS = {
    "frames": attrgetter("frames"),
    "with a face": attrgetter("visual"),
    "with audio": attrgetter("audio"),
    "subjects": attrgetter("subjects"),
}


@click.command(name="extract")
@inputs_argument
@output_option("Output folder; for one input also a .safetensors file.")
@click.option(
    "--visual", default=COMPACT_FACE, show_default=True, metavar="NAME|PATH",
    help="Visual backbone: compact-face, an encoder.safetensors, or a DINOv2, BEiT or ViT by hub "
    "name or folder.",
)  # fmt: skip
@click.option(
    "--audio", default=COMPACT_VOICE, show_default=True, metavar="NAME|PATH",
    help="Audio backbone: compact-voice, an encoder.safetensors, or a Wav2Vec 2.0, WavLM or HuBERT "
    "by hub name or folder.",
)  # fmt: skip
@click.option(
    "--modality", type=click.Choice(MODALITY_CHOICES), default=MODALITY_CHOICES[0],
    show_default=True,
    help="Use faces and audio, or one of them.",
)  # fmt: skip
@click.option(
    "--audio-layers", "layers", default=AudioFeatures.layers, show_default=True,
    metavar="lastN|firstN",
    help="Blocks of an audio transformer whose mean output is the feature.",
)  # fmt: skip
@audio_from_option
@choose_subject("main; for crops, the subject they were made of")
@rotate_option
@batch_size_option
@device_option
@keep_suffix_option
@overwrite_option
@json_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    visual: str,
    audio: str,
    modality: str,
    layers: str,
    audio_from: Path | None,
    subject: str | None,
    rotate: int,
    batch_size: int,
    device: str,
    keep_suffix: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Extract visual and audio features, one row per frame, to train and run heads on.

    An input is a video, a folder that `abaw crop` wrote, or a folder of official crops
    (cropped_aligned/<name>/00001.jpg). OUTPUT/<name>.safetensors has a row for every frame. With
    --subject all, the files are OUTPUT/<name>/subject0.safetensors and so on. An audio file has 25
    rows per second; folders are searched for audio files with --modality audio.

    Example: abaw extract crops/ -o features/ --audio-from interviews/
    """
    from abawcli.device import leave_one_core
    from abawcli.formats.crops import is_crops
    from abawcli.formats.features import FEATURES_SUFFIX
    from abawcli.formats.inputs import AUDIO_SUFFIXES, VIDEO_SUFFIXES, expand_inputs
    from abawcli.formats.outputs import name_outputs, name_videos
    from abawcli.media.estimate import estimate_frames
    from abawcli.pipeline.feature_stream import Extractor
    from abawcli.stages.extract import extract_features

    suffixes = VIDEO_SUFFIXES | (AUDIO_SUFFIXES if modality == "audio" else frozenset())
    paths = expand_inputs(inputs, suffixes, is_crops)
    names = name_videos(paths, keep_suffix)
    outputs = name_outputs(
        paths, output, FEATURES_SUFFIX, frozenset([FEATURES_SUFFIX]), keep_suffix=keep_suffix
    )
    leave_one_core()
    extractor = Extractor(visual, audio, modality, layers, device, Prediction(batch_size), rotate)
    summaries = Summaries("input", COLUMNS)

    def work(path: Path) -> None:
        with progress_bar(path.name, "frame", quiet, estimate_frames(path)) as update:
            done = extract_features(
                path, outputs[path], extractor, subject=subject, audio_from=audio_from,
                video=names[path], overwrite=overwrite, progress=update,
            )  # fmt: skip
        summaries.add(names[path], outputs[path], done)

    with summaries.show_at_end(f"features in {output}", as_json, quiet):
        run_each(paths, work)
