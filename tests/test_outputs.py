import os
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from abawcli.cli import main
from abawcli.errors import OutputError, UsageError
from abawcli.formats.inputs import expand_inputs
from abawcli.formats.names import compose_name
from abawcli.formats.outputs import check_writable, name_outputs, name_videos
from abawcli.formats.tables import TABLE_SUFFIXES

VIDEOS = frozenset([".mp4", ".mov", ".avi"])
# Names of files and folders with what makes names difficult.
PART = st.text(st.sampled_from("ab.é -_é"), min_size=1, max_size=4).filter(
    lambda name: name.strip(".") != ""
)
PLACE = st.builds(
    lambda folders, stem, suffix: Path(*folders, stem + suffix),
    st.lists(PART, max_size=2),
    PART,
    st.sampled_from([".mp4", ".mov", ""]),
)


def place(
    inputs: list[str], output: Path | str, suffix: str | None = None, keep: bool = False
) -> list[str]:
    paths = [Path(p) for p in inputs]
    placed = name_outputs(paths, Path(output), suffix, TABLE_SUFFIXES, keep_suffix=keep)
    assert list(placed) == paths
    return [str(p) for p in placed.values()]


@given(st.lists(PLACE, min_size=1, max_size=6, unique=True), st.sampled_from([".csv", "", None]))
def test_names_depend_on_the_input_alone_and_stay_apart(
    places: list[Path], suffix: str | None
) -> None:
    inputs = {Path("in") / path: path for path in places}
    output = Path("out")
    try:
        named = name_outputs(inputs, output, suffix)
    except UsageError as error:
        named_after_dots = suffix is not None and any(p.stem in (".", "..") for p in places)
        shared = [place for place in places if str(Path("in") / place) in str(error)]
        assert named_after_dots or len(shared) >= 2  # both are named
        return
    for path, target in named.items():
        alone = name_outputs({path: inputs[path]}, output, suffix)
        assert alone == {path: target}
        inside = Path(os.path.abspath(target)).relative_to(os.path.abspath(output))
        assert str(inside) not in ("", ".")
    assert len({compose_name(str(target)) for target in named.values()}) == len(places)
    for one in named.values():  # nothing is written into what another one writes
        assert not any(one in other.parents for other in named.values())


@given(st.lists(PLACE, min_size=1, max_size=6, unique_by=lambda p: compose_name(str(p))))
def test_keeping_suffixes_tells_all_files_of_a_folder_apart(places: list[Path]) -> None:
    inputs = {Path("in") / path: path for path in places}
    names = name_videos(inputs, keep_suffix=True)
    assert [names[path] for path in inputs] == [path.as_posix() for path in places]


def test_one_output_is_a_file_or_in_a_folder(tmp_path: Path) -> None:
    assert place(["in/a.mp4"], "labels.csv", ".csv") == ["labels.csv"]
    assert place(["in/a.b.mp4"], "out", ".csv") == ["out/a.b.csv"]
    assert place(["a.parquet"], "out") == ["out/a.parquet"]
    (tmp_path / "odd.csv").mkdir()
    assert place(["a.csv"], tmp_path / "odd.csv") == [str(tmp_path / "odd.csv" / "a.csv")]


def test_several_outputs_are_in_a_folder() -> None:
    assert place(["x/a.csv", "b.parquet"], "out") == ["out/a.csv", "out/b.parquet"]
    assert place(["a.b.mp4", "c"], "out", ".csv") == ["out/a.b.csv", "out/c.csv"]
    with pytest.raises(UsageError, match=r"2 inputs need a folder as -o, not the file all\.csv"):
        place(["a.mp4", "b.mp4"], "all.csv", ".csv")


def test_a_dot_in_a_folders_name() -> None:
    assert place(["a.mp4", "b.mp4"], "out_0.3", ".csv") == ["out_0.3/a.csv", "out_0.3/b.csv"]
    assert place(["a.mp4"], "out_0.3", ".csv") == ["out_0.3/a.csv"]
    assert place(["a.mp4", "b.mp4"], "v.final", ".csv")[0] == "v.final/a.csv"
    for inputs, output in ((["a.mp4"], "out.xlsx"), (["a.mp4"], "out.cvs"),
                           (["a.mp4", "b.mp4"], "out.xlsx")):  # fmt: skip
        with pytest.raises(UsageError, match=r"must end in \.csv or \.parquet, or be a folder"):
            place(inputs, output, ".csv")


@pytest.mark.parametrize("inputs", [["a.mp4"], ["a.mp4", "b.mp4"]])
def test_a_suffix_is_no_name(inputs: list[str]) -> None:
    with pytest.raises(UsageError, match=r"out/\.csv is a suffix without a name; give a name"):
        place(inputs, "out/.csv", ".csv")
    assert place(inputs, "out/.hidden", ".csv")[0] == "out/.hidden/a.csv"


def test_inputs_that_would_share_an_output_are_refused_with_the_way_out() -> None:
    message = r"^x/a\.mov and y/a\.mp4 are both called a; give --keep-suffix$"
    with pytest.raises(UsageError, match=message):
        place(["x/a.mov", "y/a.mp4"], "out", ".csv")
    kept = place(["x/a.mov", "y/a.mp4"], "out", ".csv", keep=True)
    assert kept == ["out/a.mov.csv", "out/a.mp4.csv"]
    message = r"x/a\.mp4 and y/a\.mp4 are both called a; give the folder above both"
    with pytest.raises(UsageError, match=message):
        place(["x/a.mp4", "y/a.mp4"], "out", ".csv")


def test_two_spellings_of_an_accent_are_one_name() -> None:
    one, other = (unicodedata.normalize(form, "café.mp4") for form in ("NFC", "NFD"))
    with pytest.raises(UsageError, match="are both called"):
        place([one, other], "out", ".csv")


def test_a_folder_of_outputs_in_another_one_is_refused() -> None:
    inputs = {Path("v/P01.mp4"): Path("P01.mp4"), Path("v/P01/x.mp4"): Path("P01/x.mp4")}
    with pytest.raises(UsageError, match=r"of v/P01/x\.mp4 would be inside that of v/P01\.mp4"):
        name_outputs(inputs, Path("crops"), "")
    assert name_outputs(inputs, Path("out"), ".csv")[Path("v/P01/x.mp4")] == Path("out/P01/x.csv")


@pytest.mark.parametrize("name", ["...mp4", "..", "/"])
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no output can be named after"):
        name_outputs({Path(name): Path(name)}, Path("out"), "")


def test_an_output_that_is_an_input_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(".")
    for inputs, output in ((["a.csv"], "link/a.csv"), (["a.csv", "b.csv"], "."), (["a.csv"], "")):
        with pytest.raises(UsageError, match=r"a\.csv is an input and would be replaced"):
            place(inputs, output)
    with pytest.raises(UsageError, match=r"x/b\.csv is an input"):  # of the other input
        name_outputs({Path("b.csv"): Path("b.csv"), Path("x/b.csv"): Path("c.csv")}, Path("x"))
    assert place(["clip"], "", "") == ["clip"]  # a folder, which replaces no file


def test_the_longest_name_that_can_be_written_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for length in range(150, 256):
        path = Path("é" * 60 + "x" * (length - 124) + ".csv")
        try:
            check_writable([path])
        except OutputError as error:
            assert "File name too long" in str(error) and length > 200
            break
    else:
        pytest.fail("a name of 255 bytes leaves no room for its provenance")
    with pytest.raises(OutputError, match="File name too long"):
        check_writable([Path("x" * 256, "a.csv")])


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("dead.csv").symlink_to("gone/x.csv")
    with pytest.raises(OutputError, match=r"dead\.csv: it is a dead link \(to gone/x\.csv\)"):
        check_writable([Path("dead.csv")])
    for name in (".", ".."):
        with pytest.raises(OutputError, match=r"cannot write \.+: it is a folder; name a file"):
            check_writable([name])
    with pytest.raises(OutputError, match=r"cannot write file/new/a\.csv: file is not a folder"):
        check_writable([Path("file/new/a.csv")])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match=r"new/a\.csv: \. is not writable"):
        check_writable([Path("new/a.csv")])


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("control/P01.mp4", "treatment/P01.mov", "P02.avi"):
        (tmp_path / "study" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "study" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names_of(*inputs: str) -> list[str]:
    return list(name_videos(expand_inputs(inputs, VIDEOS)).values())


def test_names_below_what_was_given(study: Path) -> None:
    nested = ["P02", "control/P01", "treatment/P01"]
    assert names_of("study") == nested
    assert names_of(str(study / "study")) == nested
    assert names_of("study/") == nested
    assert names_of("study/**/*.m*") == nested[1:]
    assert names_of("study/*") == nested
    assert names_of("study/control/*.mp4") == ["P01"]
    assert names_of("study/control/P01.mp4", "study/P02.avi") == ["P01", "P02"]


def test_names_of_a_list_are_those_in_it(study: Path) -> None:
    full = study / "study" / "treatment" / "P01.mov"
    Path("list.txt").write_text(f"study/control/P01.mp4\nstudy/../study/P02.avi\n{full}\n")
    assert names_of("@list.txt") == ["study/control/P01", "study/P02", "P01"]
    Path("list.txt").write_text("../x/a.mp4\nstudy/treatment\n")
    assert names_of("@list.txt") == ["a", "study/treatment/P01"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "head", "none", "--labels", "none"),
        ("train", "encoder", "--images", "none", "--manifest", "none"),
        ("crossval", "none", "--labels", "none"),
        ("extract", "a.mkv"), ("crop", "a.mkv"), ("predict", "a.mkv", "b.mkv"),
        ("smooth", "t.csv"), ("fuse", "t.csv", "u.csv"), ("submit", "t.csv", "--template", "s.txt"),
        ("score", "t.csv", "t.txt"), ("manifest", "folders", "none"), ("report", "t.csv"),
    ],
)  # fmt: skip
def test_commands_refuse_a_place_that_is_none_before_their_inputs_are_read(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()  # the inputs are not there at all
    name = {"fuse": "run.csv"}.get(arguments[0], "run")
    result = CliRunner().invoke(main, [*arguments, "-o", f"file/{name}"])
    assert result.exit_code == 1, result.stderr
    assert "cannot write file/run" in result.stderr and "file is not a folder" in result.stderr
