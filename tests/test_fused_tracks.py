"""Weights of fused tables, found on annotated videos: `abaw fuse --weights auto`."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.config import Weighting
from abawcli.datasets.fused_tracks import FusedTrack, choose_weights, tune_weights
from abawcli.errors import InputError
from abawcli.formats.abaw import write_annotation
from abawcli.formats.provenance import read_provenance
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table, write_table

VIDEOS = ["a", "b", "c", "d"]


def draw_track(seed: int, noise: tuple[float, ...] = (0.6, 3.0), rows: int = 160) -> FusedTrack:
    """Members whose probabilities are the truth and so much noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, rows)
    members = []
    for deviation in noise:
        z = np.eye(8)[labels] + deviation * rng.normal(size=(rows, 8))
        members.append(np.exp(3 * z) / np.exp(3 * z).sum(axis=1, keepdims=True))
    return FusedTrack(np.stack(members), labels)


def draw_tracks(noise: tuple[float, ...] = (0.6, 3.0)) -> dict[str, FusedTrack]:
    return {name: draw_track(k, noise) for k, name in enumerate(VIDEOS)}


def test_the_better_member_gets_the_larger_weight() -> None:
    found = choose_weights(draw_tracks())
    assert found.weights[0] > found.weights[1] and found.weights == found.tuned
    assert found.cross_validated > found.equal and found.best >= found.cross_validated
    assert found.singles[0] > found.singles[1]
    assert (found.videos, found.folds, found.frames) == (4, 4, 640)
    assert found == choose_weights(draw_tracks())


def test_members_that_are_the_same_keep_equal_weights() -> None:
    tracks = {
        name: FusedTrack(np.repeat(track.members[:1], 2, axis=0), track.labels)
        for name, track in draw_tracks().items()
    }
    found = choose_weights(tracks)
    assert found.weights == (1, 1) and found.gain == 0


def test_weights_without_a_gain_on_other_videos_are_not_used() -> None:
    # Each member is right in videos of its own, so that what wins on some loses on the others.
    tracks = draw_tracks(noise=(0.3, 3.0))
    for name in VIDEOS[:2]:
        tracks[name] = FusedTrack(tracks[name].members[::-1], tracks[name].labels)
    found = choose_weights(tracks)
    assert found.cross_validated <= found.equal
    assert found.weights == (1, 1)


def test_a_held_out_video_has_no_part_in_its_weights() -> None:
    tracks = draw_tracks()
    seen: list[int] = []

    def count_rows(track: FusedTrack, config: Weighting) -> np.ndarray:
        seen.append(len(track.labels))
        return tune_weights(track, config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("abawcli.datasets.fused_tracks.tune_weights", count_rows)
        choose_weights(tracks)
    assert sorted(seen) == [480, 480, 480, 480, 640]  # the last time on all


def test_rows_that_one_member_does_not_predict_rest_on_the_others() -> None:
    track = draw_track(0)
    track.members[0, :80] = np.nan
    weights = tune_weights(track, Weighting())
    assert weights[0] > weights[1]


def test_one_source_video_is_refused() -> None:
    tracks = {"x_left": draw_track(0), "x_right": draw_track(1)}
    with pytest.raises(InputError, match="2 or more annotated source videos, not 1"):
        choose_weights(tracks)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prediction tables of two models, and annotations of all videos but the last."""
    monkeypatch.chdir(tmp_path)
    for name, track in draw_tracks().items():
        for folder, p in zip(("good", "poor"), track.members, strict=True):
            table = make_table(p.argmax(axis=1), name)
            table[PROBABILITIES] = p
            table["confidence"] = p.max(axis=1)
            write_table(table, Path(folder, f"{name}.csv"), {})
        if name != VIDEOS[-1]:
            write_annotation(track.labels, Path("labels", f"{name}.txt"))


def fuse(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["fuse", *arguments])
    return result.exit_code, result.stderr


@pytest.mark.usefixtures("folders")
def test_folders_are_fused_with_the_weights_found() -> None:
    arguments = ["good", "poor", "-o", "out", "--weights", "auto", "--labels", "labels"]
    code, err = fuse(*arguments)
    assert code == 0 and "weights found, cross-validated" in err, err
    assert "3 annotated videos, 480 frames, 3 folds" in err
    settings = [read_provenance(Path("out", f"{name}.csv"))["settings"] for name in VIDEOS]
    assert all(each == settings[0] for each in settings)
    weights, found = settings[0]["weights"], settings[0]["weights_found"]
    assert weights == found["weights"] and weights[0] > weights[1]
    assert found["cross_validated"] > found["equal"]
    given = ",".join(map(repr, weights))
    assert fuse("good", "poor", "-o", "same", "--weights", given)[0] == 0
    assert read_table(Path("out/d.csv")).equals(read_table(Path("same/d.csv")))
    before = Path("out/a.csv").stat().st_mtime_ns
    assert fuse(*arguments)[0] == 0  # finished work is kept
    assert Path("out/a.csv").stat().st_mtime_ns == before


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--weights", "auto"], 2, "--weights auto and --labels need each other"),
        (["--weights", "2,1", "--labels", "labels"], 2, "need each other"),
        (["--weights", "2,1", "--confident", "0.9"], 2, "--confident and --weights exclude"),
        (["--weights", "best"], 2, "not a list of numbers, such as 2,1, or auto"),
        (["--weights", "auto", "--labels", "nothing"], 1, "no such file: nothing"),
        (["--weights", "auto", "--labels", "labels/a.txt"], 1, "2 or more annotated source"),
    ],
)
def test_bad_calls(arguments: list[str], status: int, message: str) -> None:
    code, err = fuse("good", "poor", "-o", "out", *arguments)
    assert code == status and message in err and not Path("out").exists()


@pytest.mark.usefixtures("folders")
def test_confident_predictions_of_the_first_folder_are_kept() -> None:
    assert fuse("good", "poor", "-o", "out", "--confident", "0.9")[0] == 0
    good, poor, fused = (read_table(Path(each, "a.csv")) for each in ("good", "poor", "out"))
    sure = good["confidence"] > 0.9
    assert 0 < sure.sum() < len(good)
    wanted = np.where(sure.to_numpy()[:, None], good[PROBABILITIES], poor[PROBABILITIES])
    np.testing.assert_allclose(fused[PROBABILITIES], wanted, atol=5e-6)  # csv has 6 decimals
    assert read_provenance(Path("out/a.csv"))["settings"] == {"confident": 0.9}
