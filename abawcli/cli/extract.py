"""`abaw extract`: visual and audio features."""

import re
from operator import attrgetter
from pathlib import Path

import click

from abawcli.cli.classifiers import onnx_input_option
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
    strategy_option,
    verbosity_options,
)
from abawcli.cli.people import describe_jobs, name_targets, plan_people, warn_without_faces
from abawcli.cli.runs import Run, run_jobs
from abawcli.cli.scale import Scale, scale_options
from abawcli.cli.summaries import Summaries
from abawcli.config import (
    COMPACT_FACE,
    COMPACT_VOICE,
    CROP_WORKERS,
    LAYERS_FORM,
    MODALITY_CHOICES,
    AudioFeatures,
)
from abawcli.errors import UsageError
from abawcli.jobs import StageWork

COLUMNS = {
    "frames": attrgetter("frames"),
    "with a face": attrgetter("visual"),
    "with audio": attrgetter("audio"),
    "subjects": attrgetter("subjects"),
}


def _read_layers(ctx: click.Context, parameter: click.Parameter, layers: str) -> str:
    """Check the form of the layers also where a backbone has none, before any work."""
    if not re.fullmatch(LAYERS_FORM, layers):
        raise click.BadParameter(f"{layers!r} is not last4, first4 or the like")
    return layers


@click.command(name="extract")
@inputs_argument
@output_option("Output folder; for one input also a .safetensors file.")
@click.option(
    "--visual", default=COMPACT_FACE, show_default=True, metavar="NAME|PATH",
    help="Visual backbone: compact-face, an encoder.safetensors, a DINOv2, BEiT or ViT by hub "
    "name or folder, or a classifier of faces (hf:NAME, hf:FOLDER, FILE.onnx).",
)  # fmt: skip
@click.option(
    "--audio", default=COMPACT_VOICE, show_default=True, metavar="NAME|PATH",
    help="Audio backbone: compact-voice, an encoder.safetensors, a Wav2Vec 2.0, WavLM or HuBERT by "
    "hub name or folder, or an audio classifier (hf:NAME, hf:FOLDER).",
)  # fmt: skip
@click.option(
    "--modality", type=click.Choice(MODALITY_CHOICES), default=MODALITY_CHOICES[0],
    show_default=True,
    help="Use faces and audio, or one of them.",
)  # fmt: skip
@click.option(
    "--audio-layers", "layers", default=AudioFeatures.layers, show_default=True,
    callback=_read_layers,
    metavar="lastN|firstN",
    help="Blocks of an audio transformer whose mean output is the feature.",
)  # fmt: skip
@onnx_input_option
@click.option(
    "--mirror", "flip", is_flag=True,
    help="Test-time augmentation: average the visual features of each crop and of its mirror "
    "image, in twice the time. `predict` does the same for a head that is trained on them.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N",
    help="Processes that decode and resize crops for the network. 1: a thread only.  "
    f"[default: 1; on a GPU, the cores, at most {CROP_WORKERS}]",
)  # fmt: skip
@audio_from_option
@choose_subject("main; for crops, the subject they were made of")
@strategy_option
@rotate_option
@batch_size_option
@device_option
@keep_suffix_option
@overwrite_option
@json_option
@scale_options
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
    strategy: Path | None,
    rotate: int,
    batch_size: int,
    device: str,
    keep_suffix: bool,
    overwrite: bool,
    as_json: bool,
    onnx_input: str | None,
    flip: bool,
    workers: int | None,
    scale: Scale,
    quiet: bool,
) -> None:
    """Extract visual and audio features, one row per frame, to train and run heads on.

    An input is a video, a folder that `abaw crop` wrote, or a folder of official crops
    (cropped_aligned/<name>/00001.jpg). OUTPUT/<name>.safetensors has a row for every frame. With
    --subject all, the files are OUTPUT/<name>/subject0.safetensors and so on. With --strategy, the
    rows <video>_left and <video>_right make two files of one video; crops are not written. An
    audio file has 25 rows per second; audio files in folders are inputs only with --modality audio.

    Example: abaw extract crops/ -o features/ --audio-from interviews/
    """
    from abawcli.formats.crops import check_any_crops, check_audio_from, is_crops
    from abawcli.formats.features import FEATURES_SUFFIX
    from abawcli.formats.inputs import VIDEO_SUFFIXES, expand_media
    from abawcli.formats.outputs import name_outputs, name_videos
    from abawcli.stages.settings import ExtractSettings

    check_audio_from(audio_from)
    paths = expand_media(inputs, VIDEO_SUFFIXES, is_crops, audio=modality == "audio")
    check_any_crops(audio_from, paths)
    names = name_videos(paths, keep_suffix)
    outputs = name_outputs(
        paths, output, FEATURES_SUFFIX, frozenset([FEATURES_SUFFIX]), keep_suffix=keep_suffix
    )
    plan = plan_people(names, strategy, subject)
    warn_without_faces(modality, subject)
    targets = name_targets(names, plan, outputs, output)
    settings = ExtractSettings(
        visual=visual, audio=audio, modality=modality, layers=layers, device=device,
        batch_size=batch_size, rotate=rotate, audio_from=audio_from, overwrite=overwrite,
        max_megapixels=scale.max_megapixels, onnx_input=onnx_input, flip=flip, workers=workers,
    )  # fmt: skip
    work = StageWork("abawcli.stages.extract:ExtractWorker", settings)
    _check_workers(workers, scale, len(names))
    jobs = describe_jobs(scale.select(names), plan, targets, subject)
    current = Run(jobs, paths, output, Summaries("input", COLUMNS))
    title = f"features in {_find_place(output, subject)}"
    run_jobs(current, work, scale, title=title, as_json=as_json, quiet=quiet)


def _check_workers(workers: int | None, scale: Scale, videos: int) -> None:
    if (workers or 1) > 1 and scale.choose_where(videos).separate:
        raise UsageError("--workers starts processes of its own; leave out --jobs and --timeout")


def _find_place(output: Path, subject: str | None) -> Path:
    """Return where features are written: those of all subjects, into a folder without a suffix."""
    from abawcli.formats.features import FEATURES_SUFFIX

    is_folder = subject == "all" and output.suffix == FEATURES_SUFFIX
    return output.with_suffix("") if is_folder else output
