"""Names of videos in nested folders, from every command to those that match by them."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from media_files import write_media
from sample_features import make_features
from sample_tables import make_table

from abawcli.cli import main
from abawcli.datasets.annotated import read_annotated
from abawcli.errors import InputError
from abawcli.formats.abaw import match_tracks, write_annotation
from abawcli.formats.features import read_features, write_features
from abawcli.formats.inputs import expand_inputs
from abawcli.formats.names import find_names
from abawcli.formats.tables import read_table, write_table
from abawcli.stages.score import score_files

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
GREY = np.full((48, 64, 3), 90, np.uint8)
NAME = st.lists(st.sampled_from(["a", "b", "P01", NFC, NFD]), min_size=1, max_size=3).map("/".join)


def abaw(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of two people called P01, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for folder in ("control", "treatment"):
        Path("study", folder).mkdir(parents=True)
        write_media(Path("study", folder, "P01.mkv"), [GREY] * 3)
    return tmp_path


def test_tables_of_a_folder_run_can_be_bound(study: Path) -> None:
    assert abaw("predict", "study", "-o", "out", "-q").exit_code == 0
    for folder in ("control", "treatment"):
        assert set(read_table(Path(f"out/{folder}/P01.csv"))["video"]) == {f"{folder}/P01"}
    assert abaw("predict", "study/control/P01.mkv", "-o", "one.csv", "-q").exit_code == 0
    assert set(read_table(Path("one.csv"))["video"]) == {"P01"}
    refused = abaw("predict", "study/control/P01.mkv", "study/treatment/P01.mkv", "-o", "o")
    assert refused.exit_code == 2 and not Path("o").exists()
    assert "study/control/P01.mkv and study/treatment/P01.mkv are both called P01" in refused.stderr


def test_what_came_before_is_named_as_before(tmp_path: Path) -> None:
    source, out = tmp_path / "v", tmp_path / "out"
    source.mkdir()
    for name in ("a.mov", "b.mov"):
        write_media(source / name, [GREY])
    assert abaw("predict", str(source), "-o", str(out), "-q").exit_code == 0
    before = sorted(out.iterdir())
    write_media(source / "a.mkv", [GREY])
    refused = abaw("predict", str(source), "-o", str(out), "-q")
    assert refused.exit_code == 2 and "are both called a; give --keep-suffix" in refused.stderr
    assert sorted(out.iterdir()) == before
    kept = abaw("predict", str(source), "-o", str(tmp_path / "kept"), "-q", "--keep-suffix")
    assert kept.exit_code == 0
    names = ["a.mkv", "a.mov", "b.mov"]
    assert sorted(p.name for p in (tmp_path / "kept").glob("*.csv")) == [f"{n}.csv" for n in names]
    tables = [read_table(tmp_path / "kept" / f"{name}.csv") for name in names]
    assert [set(table["video"]) for table in tables] == [{name} for name in names]


def test_crops_of_nested_videos_become_features(study: Path) -> None:
    assert abaw("crop", "study", "-o", "crops", "-q").exit_code == 0
    strategy = Path("crops/strategy.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in strategy] == ["video", "control/P01", "treatment/P01"]
    again = abaw("crop", "study", "-o", "crops", "-q",
                 "--strategy", "crops/strategy.csv")  # fmt: skip
    assert again.exit_code == 0, again.stderr
    made = abaw("extract", "crops", "-o", "features", "--modality", "visual", "-q")
    assert made.exit_code == 0, made.stderr
    for name in ("control/P01", "treatment/P01"):
        assert read_features(Path(f"features/{name}.safetensors")).metadata.video == name
    drawn = abaw("sheet", "crops", "-o", "sheets", "-q")
    assert drawn.exit_code == 0 and Path("sheets/control/P01.jpg").is_file(), drawn.stderr


def test_score_matches_nested_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, label in (("control/P01", 1), ("treatment/P01", 2)):
        write_table(make_table([label] * 3, name), Path(f"out/{name}.csv"), {})
        write_annotation(np.full(3, label), Path(f"truth/{name}.txt"))
    suffixes = frozenset([".csv", ".txt"])
    found = score_files(expand_inputs(["out"], suffixes), expand_inputs(["truth"], suffixes))
    assert found.overall.accuracy == 1 and not found.failed
    assert [video.name for video in found.videos] == ["control/P01", "treatment/P01"]
    assert abaw("score", "out", "truth").exit_code == 0
    assert abaw("score", "out/control/P01.csv", "truth/control/P01.txt").exit_code == 0
    flat = abaw("score", "out/control", "truth")  # treatment has no predictions
    assert flat.exit_code == 1
    assert "treatment/P01: no predictions of this video" in flat.stderr


def test_a_short_name_is_not_of_two_videos(tmp_path: Path) -> None:
    table = tmp_path / "P01.csv"
    write_table(make_table([1] * 3, "P01"), table, {})
    for name in ("control/P01", "treatment/P01"):
        write_annotation(np.full(3, 1), tmp_path / "truth" / f"{name}.txt")
    truth = expand_inputs([str(tmp_path / "truth")], frozenset([".txt"]))
    with pytest.raises(InputError, match="of P01 match several: control/P01, treatment/P01"):
        score_files([table], truth)
    one = {path: place for path, place in truth.items() if "control" in str(place)}
    assert [video.name for video in score_files([table], one).videos] == ["control/P01"]


@pytest.mark.parametrize(
    "command",
    [
        "plot out --labels truth -o plot.png",
        "report out --labels truth -o report",
        "agree out truth",
        "score out truth",
    ],
)
def test_annotations_of_one_name_in_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, label in (("control/P01", 1), ("treatment/P01", 2)):
        write_table(make_table([label] * 3, name), Path(f"out/{name}.csv"), {})
        write_annotation(np.full(3, label), Path(f"truth/{name}.txt"))
    result = abaw(*command.split())
    assert result.exit_code == 0, result.stderr
    assert "left out" not in result.stderr


def test_heads_learn_from_nested_folders(tmp_path: Path) -> None:
    for name, rows in (("control/P01", 3), ("treatment/P01", 2)):
        features = make_features(np.zeros(rows, np.int64), name)
        path = tmp_path / "f" / f"{name}.safetensors"
        write_features(features, path, {})
        write_annotation(np.full(rows, rows), tmp_path / "l" / f"{name}.txt")
    inputs, labels = (
        expand_inputs([str(tmp_path / folder)], frozenset([".safetensors", ".txt"]))
        for folder in ("f", "l")
    )
    data = read_annotated(inputs, labels)
    assert data.names == ["control/P01", "treatment/P01"]
    assert data.labels.tolist() == [3, 3, 3, 2, 2]


@pytest.mark.parametrize(("predicted", "annotated"), [(NFC, NFD), (NFD, NFC)])
def test_composed_and_decomposed_accents_match(
    tmp_path: Path, predicted: str, annotated: str
) -> None:
    table, text = tmp_path / "p" / f"{predicted}.csv", tmp_path / "t" / f"{annotated}.txt"
    write_table(make_table([1, 2], predicted), table, {})
    write_table(make_table([1, 2], "other"), tmp_path / "p" / "other.csv", {})
    write_annotation(np.array([1, 2]), text)
    assert score_files(sorted((tmp_path / "p").iterdir())[:1], [text]).overall.accuracy == 1
    features = make_features(np.zeros(2, np.int64), predicted)
    write_features(features, tmp_path / "x.safetensors", {})
    assert read_annotated([tmp_path / "x.safetensors"], [text]).labels.tolist() == [1, 2]
    write_table(make_table([1, 2], annotated), tmp_path / "q" / f"{annotated}.csv", {})
    fused = abaw("fuse", str(tmp_path / "p"), str(tmp_path / "q"), "-o", str(tmp_path / "o"))
    assert "1 of 2 inputs failed: other.csv" in fused.stderr
    assert len(list((tmp_path / "o").glob("*.csv"))) == 1


def test_folders_of_the_challenges_sets_do_not_count_where_nothing_else_matches() -> None:
    known = ["batch1/102", "batch1/45_left", "batch2/102_2", "Train_Set/7"]
    for name, matches in {
        "Train_Set/102": ["batch1/102"],
        "EXPR_Recognition_Challenge/Validation_Set/45_left": ["batch1/45_left"],
        "train_set/7": ["Train_Set/7"],
        "control/102": [],
        "Train_Set": [],
    }.items():
        assert find_names(name, known) == matches, name
    assert find_names("Train_Set/a", ["x/a", "y/Train_Set/a"]) == ["y/Train_Set/a"]
    tracks = [(video, "main") for video in known]
    annotations = ["Train_Set/102", "Validation_Set/102", "Train_Set/45_left", "Train_Set/45_right"]
    found, failed = match_tracks(annotations, tracks, "features")
    assert found == {"Train_Set/45_left": ("batch1/45_left", "main")}
    assert set(failed) == {"Train_Set/102", "Validation_Set/102", "Train_Set/45_right"}


def test_the_person_on_the_other_side_is_nobody_s_match() -> None:
    found, failed = match_tracks(["x_left", "x_right"], [("x", "left")], "predictions")
    assert found == {"x_left": ("x", "left")}
    reason = "x_right: predictions of x are of its subject left only; create them with --subject "
    assert failed == {"x_right": f"{reason}right"}
    # The strategy of a name may be the other side.
    assert match_tracks(["x_right"], [("x_right", "left")], "crops")[1] == {}


def test_a_head_learns_from_the_challenges_folders(tmp_path: Path) -> None:
    for name in ("102", "7_left"):
        path = tmp_path / "f/batch1" / f"{name}.safetensors"
        write_features(make_features(np.zeros(3, np.int64), f"batch1/{name}"), path, {})
        write_annotation(np.full(3, 4), tmp_path / "l/Train_Set" / f"{name}.txt")
    inputs, labels = (
        expand_inputs([str(tmp_path / each)], frozenset([".safetensors", ".txt"])) for each in "fl"
    )
    assert read_annotated(inputs, labels).names == ["Train_Set/102", "Train_Set/7_left"]


@given(st.lists(NAME, min_size=1, max_size=5, unique=True), st.data())
def test_matching_is_exact_first_and_never_gives_one_to_two(
    known: list[str], data: st.DataObject
) -> None:
    composed = list({unicodedata.normalize("NFC", name): None for name in known})
    name = data.draw(st.sampled_from(known))
    assert find_names(name, composed) == [unicodedata.normalize("NFC", name)]
    wanted = data.draw(st.lists(NAME, min_size=1, max_size=5, unique=True))
    wanted = list({unicodedata.normalize("NFC", one): None for one in wanted})
    found, failed = match_tracks(wanted, [(video, "main") for video in composed], "predictions")
    assert found.keys() | failed.keys() == set(wanted)
    shared = [track for track in found.values() if list(found.values()).count(track) > 1]
    assert not shared
    for one, (video, _) in found.items():
        assert one.endswith(video) or video.endswith(one)
        assert one not in composed or video == one
