"""`abaw agree` from the shell."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.formats.abaw import write_annotation
from abawcli.formats.tables import write_table
from abawcli.stages.agree import agree_files

ANNA = {"one": [0, 0, 4, 4, -1], "two": [5, 5, 5, 0]}
BEN = {"one": [0, 4, 4, 4, 4], "two": [5, 5, 5, 0]}


@pytest.fixture
def coders(tmp_path: Path) -> Path:
    for coder, videos in (("anna", ANNA), ("ben", BEN)):
        (tmp_path / coder).mkdir()
        for name, labels in videos.items():
            write_annotation(np.array(labels), tmp_path / coder / f"{name}.txt")
    (tmp_path / "model").mkdir()
    for name, labels in BEN.items():
        write_table(make_table(labels, name), tmp_path / "model" / f"{name}.csv", {})
    return tmp_path


def agree(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["agree", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_two_coders(coders: Path) -> None:
    found = agree(coders / "anna", coders / "ben")
    assert found["frames"] == 8 and found["videos"] == 2
    (pair,) = found["pairs"]
    assert pair["agreement"] == 7 / 8
    # by hand: chance agreement (3 * 2 + 2 * 3 + 3 * 3) / 64
    assert pair["kappa"] == pytest.approx((7 / 8 - 21 / 64) / (1 - 21 / 64))
    # runs of anna: 00|44, 555|0; of ben: 0|444, 555|0; each overlaps by half and more
    assert pair["segments"] == 1.0
    assert pair["confusion"][0][4] == 1 and pair["kappa_interval"] is not None
    assert found["classes"]["Anger"] is None


def test_a_model_is_a_coder_like_any_other(coders: Path) -> None:
    found = agree(coders / "anna", coders / "ben", coders / "model")
    assert [pair["coders"][1].split("/")[-1] for pair in found["pairs"]] == [
        "ben",
        "model",
        "model",
    ]
    assert found["pairs"][2]["kappa"] == 1.0 and 0 < found["alpha"] < 1


def test_intervals_do_not_depend_on_the_order_of_the_files(coders: Path) -> None:
    rng, files = np.random.default_rng(0), []
    for coder in ("anna", "ben"):
        files.append([coders / coder / f"{k}.txt" for k in range(8)])
        for path in files[-1]:
            write_annotation(rng.integers(0, 3, 20), path)
    anna, ben = files
    found, turned = (agree_files({"anna": anna[::k], "ben": ben[::k]}) for k in (1, -1))
    assert found.alpha_interval == turned.alpha_interval is not None
    assert found.pairs[0].kappa_interval == turned.pairs[0].kappa_interval is not None


def test_one_file_each_may_have_any_names(coders: Path) -> None:
    other = coders / "somebody.txt"
    write_annotation(np.array(BEN["one"]), other)
    assert agree(coders / "anna" / "one.txt", other)["frames"] == 4


def test_one_class_has_neither_kappa_nor_interval(coders: Path) -> None:
    for coder in ("anna", "ben"):
        for name in ANNA:
            write_annotation(np.zeros(4, np.int64), coders / coder / f"{name}.txt")
    found = agree(coders / "anna", coders / "ben")
    assert found["alpha"] is None and found["alpha_interval"] is None
    (pair,) = found["pairs"]
    assert pair["agreement"] == 1 and pair["kappa"] is None and pair["kappa_interval"] is None


def test_tables_on_the_terminal(coders: Path) -> None:
    arguments = ["agree", str(coders / "anna"), str(coders / "ben")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert "anna / ben" in result.stdout and "Krippendorff's alpha" in result.stdout


def test_a_video_of_one_coder_is_named_and_the_others_are_compared(coders: Path) -> None:
    write_annotation(np.array([0, 1]), coders / "ben" / "three.txt")
    result = CliRunner().invoke(main, ["agree", str(coders / "anna"), str(coders / "ben")])
    said = " ".join(result.stderr.split())
    assert result.exit_code == 0 and "only one coder labelled it: three (" in said
    assert "anna / ben" in result.stdout and ", 2 videos," in result.stdout
    assert agree(coders / "anna", coders / "ben")["single"] == {"three": str(coders / "ben")}


def test_bad_input(coders: Path) -> None:
    for arguments, code, message in (
        ([coders / "anna"], 2, "at least two coders"),
        ([coders / "anna", coders / "anna"], 2, "given twice"),
        ([coders / "anna", coders / "nobody"], 1, "no such file"),
    ):
        result = CliRunner().invoke(main, ["agree", *map(str, arguments)])
        assert result.exit_code == code, result.output
        assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize("frame", [0, 9 * 10**15])
def test_a_table_with_a_wrong_frame_fails_alone(coders: Path, frame: int) -> None:
    write_table(make_table([0], "one").assign(frame=frame), coders / "model" / "one.csv", {})
    call = ["agree", *(str(coders / name) for name in ("anna", "ben", "model"))]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 1 and "anna / ben" in result.stdout
    assert "one.csv, line 2: frame must be" in result.stderr


def test_times_that_go_back_are_named(coders: Path) -> None:
    path = coders / "model" / "one.csv"
    write_table(make_table(BEN["one"], "one").assign(time_s=[0, 3, 2, 4, 5]), path, {})
    call = ["agree", str(coders / "anna"), str(coders / "model")]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 1
    assert "one.csv, line 4: time_s of frame 3 is 2.0, and 3.0 of frame 2" in result.stderr
