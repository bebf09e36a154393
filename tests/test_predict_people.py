"""Whom `abaw predict` labels: crops, strategies and tracks."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from blob_faces import BlobDetector, picture
from click.testing import CliRunner, Result
from media_files import write_media

from abawcli.cli import main
from abawcli.formats.provenance import read_provenance
from abawcli.formats.tables import read_table
from abawcli.stages.predict import Predictor


def abaw(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two people in a video of a nested folder; the left one is gone in 9-12."""
    monkeypatch.chdir(tmp_path)
    for module in ("abawcli.stages.crop", "abawcli.pipeline.feature_stream"):
        monkeypatch.setattr(f"{module}.load_detector", lambda *_, **__: BlobDetector())
    Path("v/day").mkdir(parents=True)
    write_media(Path("v/day/two.mkv"), [picture(32 * (k <= 8), 20) for k in range(1, 13)])
    return tmp_path


def test_the_way_for_several_people_goes_to_the_end(study: Path) -> None:
    """As the README has it."""
    assert abaw("crop", "v", "-o", "crops", "-q").exit_code == 0
    assert abaw("sheet", "crops", "-o", "sheets", "-q").exit_code == 0
    plan = Path("crops/strategy.csv")
    plan.write_text("video,strategy\nday/two_left,track 0\nday/two_right,track 1\n")
    done = abaw("crop", "v", "-o", "crops", "--strategy", plan, "-q")
    assert done.exit_code == 0, done.stderr
    result = abaw("predict", "crops/day/two_left", "crops/day/two_right", "-o", "labels", "-q")
    assert result.exit_code == 0, result.stderr
    tables = {name: read_table(Path(f"labels/two_{name}.csv")) for name in ("left", "right")}
    assert [int(table["found"].sum()) for table in tables.values()] == [8, 12]
    assert set(tables["left"]["video"]) == {"two_left"}
    assert set(tables["left"]["subject"]) == {"track 0"}
    assert tables["left"]["x"][0] != tables["right"]["x"][0]
    again = abaw("predict", "crops", "-o", "all", "-q")
    assert again.exit_code == 0, again.stderr
    names = ["two.csv", "two_left.csv", "two_right.csv"]
    assert sorted(path.name for path in Path("all/day").glob("*.csv")) == names
    assert set(read_table(Path("all/day/two_left.csv"))["video"]) == {"day/two_left"}
    assert "3 of 3 outputs are already made" in abaw("predict", "crops", "-o", "all").stderr


def test_one_pass_makes_the_tables_of_a_strategy(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("s.csv").write_text(
        "video,strategy,from,to\nday/two_left,track 0,,6\nday/two_right,track 1,,\nother,main,,\n"
    )
    passes, read = [], Predictor.predict_frames

    def predict_frames(self: Predictor, path: Path, *given: Any) -> Any:
        passes.append(path)
        return read(self, path, *given)

    monkeypatch.setattr(Predictor, "predict_frames", predict_frames)
    run = ("predict", "v", "--strategy", "s.csv", "--no-smooth", "--modality", "visual")
    result = abaw(*run, "-o", "out")
    assert result.exit_code == 0, result.stderr
    assert len(passes) == 1
    assert "1 rows of s.csv match no input and are left out: other" in result.stderr
    left, right = (read_table(Path(f"out/day/two_{side}.csv")) for side in ("left", "right"))
    assert np.flatnonzero(left["found"]).tolist() == list(range(6)) and right["found"].all()
    assert set(left["subject"]) == {"strategy"} and set(right["subject"]) == {"track 1"}
    provenance = read_provenance(Path("out/day/two_left.csv"))["settings"]
    assert provenance["segments"] == [["track 0", 1, 6]] and provenance["video"] == "day/two_left"
    assert len(list(Path("out").rglob("*.csv"))) == 2
    refused = abaw("predict", "v/day/two.mkv", "--strategy", "s.csv", "-o", "one.csv")
    assert refused.exit_code == 0  # `two` alone has no row there: whoever is main
    Path("s.csv").write_text("video,strategy\ntwo_left,left\ntwo_right,right\n")
    refused = abaw("predict", "v/day/two.mkv", "--strategy", "s.csv", "-o", "new.csv")
    assert refused.exit_code == 2 and "give a folder as -o" in refused.stderr


def test_a_track_is_a_subject(study: Path) -> None:
    run = ("predict", "v/day/two.mkv", "--no-smooth", "-q")
    assert abaw(*run, "-o", "t.csv", "--subject", "track 0").exit_code == 0
    assert read_table(Path("t.csv"))["found"].sum() == 8
    assert abaw(*run, "-o", "f.csv", "--subject", "follow-largest").exit_code == 0
    followed = read_table(Path("f.csv"))
    assert set(followed["subject"]) == {"follow-largest"} and followed["found"].sum() == 8
    refused = abaw(*run, "-o", "u.csv", "--subject", "track 4")
    assert refused.exit_code == 1 and "has no track 4; they are 0 to 1" in refused.stderr
    assert not Path("u.csv").exists()


def test_folders_of_pictures_and_of_official_crops(study: Path) -> None:
    for name in ("aligned/x/00001.jpg", "aligned/x/00003.jpg", "photos/1.jpg", "photos/2.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, np.full((112, 112, 3), 99, np.uint8))
    result = abaw("predict", "aligned", "photos", "-o", "out", "--no-smooth", "-q")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in Path("out").glob("*.csv")) == ["1.csv", "2.csv", "x.csv"]
    assert read_table(Path("out/x.csv"))["found"].tolist() == [True, False, True]
    smooth = abaw("predict", "aligned", "-o", "smooth", "-q")
    assert smooth.exit_code == 0, smooth.stderr
    write_media(Path("v/x.mkv"), [picture(0, 0)] * 4)
    timed = abaw("predict", "aligned", "--audio-from", "v", "-o", "timed", "-q")
    assert timed.exit_code == 0, timed.stderr
    assert read_table(Path("timed/x.csv"))["time_s"].tolist() == [0.0, 0.04, 0.08, 0.12]
    mixed = abaw("predict", "aligned", "--strategy", "s.csv", "-o", "o")
    assert mixed.exit_code == 1 and "no such file: s.csv" in mixed.stderr
    Path("s.csv").write_text("video,strategy\nx,left\n")
    mixed = abaw("predict", "aligned", "--strategy", "s.csv", "-o", "o")
    assert mixed.exit_code == 2 and "leave out --strategy" in mixed.stderr
