"""Stage train head: a head from features and annotations.

Stage II of arXiv 2603.12221, or the dual branch of arXiv 2603.08034, at any size.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from abawcli.config import EXPR, HeadTraining, default_head_training
from abawcli.datasets.annotated import AnnotatedFeatures, VideoSet, check_alike, read_annotated
from abawcli.datasets.folds import make_folds
from abawcli.datasets.pseudo_labels import PseudoLabels
from abawcli.errors import InputError, UsageError
from abawcli.formats.abaw import split_side
from abawcli.formats.feature_sets import FeaturePaths
from abawcli.progress import Progress, ignore_progress
from abawcli.training.head_task import HeadTask, make_loop
from abawcli.training.loop import choose_training_device
from abawcli.training.run_folder import History

# Features, of several backbones those of each track together, and annotations.
Files = tuple[Iterable[Path | FeaturePaths], Iterable[Path]]


def hold_out(data: AnnotatedFeatures, folds: int) -> tuple[VideoSet, VideoSet]:
    """Split videos into a training set and one fold for validation.

    Raises:
        UsageError: there are fewer than two source videos.
    """
    labels = [data.labels[rows] for _, rows in data.videos()]
    annotated = [name for name, part in zip(data.names, labels, strict=True) if (part >= 0).any()]
    sources = {split_side(name)[0] for name in annotated}
    if len(sources) < 2:
        raise UsageError(
            f"one annotated source video ({', '.join(sources)}) cannot be split; "
            "give others with --valid-features and --valid-labels"
        )
    fold_of = make_folds(data.names, labels, min(folds, len(sources)))
    held = frozenset(n for n, fold in fold_of.items() if fold == 1 and split_side(n)[0] in sources)
    return VideoSet(data, frozenset(fold_of) - held), VideoSet(data, held)


def train_fusion_head(
    files: Files,
    out: str | Path,
    head: str = "gated",
    config: HeadTraining | None = None,
    *,
    valid_files: Files | None = None,
    auxiliary: Mapping[str, Iterable[Path]] | None = None,
    pseudo: PseudoLabels | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> History:
    """Train a head on feature files and annotations of its task; return the result of each epoch.

    With `auxiliary` annotations, of other tasks by name, the head also learns these tasks where a
    video has them (`config.auxiliary_weight`); it predicts its own. With `pseudo` labels, it also
    learns from frames and videos without an annotation; annotations are never replaced, and
    validation is on annotations alone.

    Validated on `valid_files`, or on a fold of the source videos that is held out. Writes
    `head.safetensors` (best epoch by the task's score), `metrics.jsonl`, `config.json` and, to go
    on after an interruption, `last.safetensors`. An interrupted run that is started again gives
    the same weights as one that was not interrupted.

    Raises:
        InputError: features or annotations cannot be read or do not fit, or are none.
        OutputError: the folder holds a run with other settings, or cannot be written.
        UsageError: the head or device is unknown, or settings are invalid.
    """
    out = Path(out)
    config = config or default_head_training(head)
    chosen = choose_training_device(device)
    if pseudo and config.task != EXPR:
        raise UsageError(f"pseudo-labels are expressions; leave them out of task {config.task}")
    if valid_files is None:
        data = read_annotated(*files, config.task, auxiliary, pseudo=pseudo)
        train, valid = hold_out(data, config.folds)
    else:
        valid = read_annotated(*valid_files, config.task).everything()
        if pseudo:
            pseudo = pseudo.leave_out({split_side(name)[0] for name in valid.names})
        data = read_annotated(*files, config.task, auxiliary, pseudo=pseudo)
        train = data.everything()
        check_alike(train.data.backbones, valid.data.backbones, "the features to validate on")
        both = sorted(train.names & valid.names)
        if both:
            raise InputError(f"{both[0]} is to be trained on and to be validated on")
    if pseudo:
        train.add_pseudo_labels()
    task = HeadTask(head, config, train=train, valid=valid, device=chosen)
    return make_loop(task, out).run(overwrite, progress)
