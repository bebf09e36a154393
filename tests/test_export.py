"""Labels in other programs' formats, read back by those formats' own readers."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pysubs2
import pytest
from click.testing import CliRunner
from media_files import counting_picture, write_media
from pympi import Elan, Praat
from sample_tables import make_table

from abawcli.cli import main
from abawcli.config import EXPORT_FORMATS, IMPORT_FORMATS
from abawcli.formats.abaw import read_annotation
from abawcli.formats.exports import EXPORTERS
from abawcli.formats.imports import IMPORTERS
from abawcli.formats.provenance import describe_work, write_provenance
from abawcli.formats.tables import write_table
from abawcli.labels import CLASSES, PROBABILITY_COLUMNS

# 25 frames a second: 1 s Happiness, 0.4 s nothing, 1 s Neutral, 0.6 s Fear.
LABELS = [4] * 25 + [-1] * 10 + [0] * 25 + [3] * 15
SEGMENTS = [(0.0, 1.0, "Happiness"), (1.4, 2.4, "Neutral"), (2.4, 3.0, "Fear")]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_table(make_table(LABELS), tmp_path / "clip.csv", {})
    return tmp_path / "clip.csv"


def export(table: Path, kind: str, output: Path | None = None) -> Path:
    """Export a table into the folder `out`; return the file of its video."""
    target = output or table.parent / "out"
    result = CliRunner().invoke(main, ["export", str(table), "--to", kind, "-o", str(target)])
    assert result.exit_code == 0, result.output
    return output or target / f"clip{EXPORTERS[kind].suffix}"


def bring_back(file: Path, kind: str, table: Path, *options: str) -> np.ndarray:
    output = table.parent / "back.txt"
    arguments = ["import", str(file), "--from", kind, "-o", str(output), "--video", str(table)]
    result = CliRunner().invoke(main, [*arguments, "--overwrite", *options])
    assert result.exit_code == 0, result.output
    return read_annotation(output)


@pytest.mark.parametrize("kind", IMPORT_FORMATS)
def test_labels_go_out_and_come_back(table: Path, kind: str) -> None:
    assert bring_back(export(table, kind), kind, table).tolist() == LABELS


@pytest.mark.parametrize("kind", IMPORT_FORMATS)
def test_a_video_with_nobody_in_it_goes_out_and_comes_back(tmp_path: Path, kind: str) -> None:
    table = tmp_path / "clip.csv"
    write_table(make_table([-1] * 5), table, {})
    assert bring_back(export(table, kind), kind, table).tolist() == [-1] * 5


@pytest.mark.parametrize("kind", IMPORT_FORMATS)
def test_labels_of_slow_motion_come_back(table: Path, kind: str) -> None:
    labels = [4] * 129 + [0] * 132 + [4] * 100  # 129 / 240 s, in milliseconds, is half a one more
    write_table(make_table(labels).assign(time_s=np.arange(361) / 240), table, {})
    assert bring_back(export(table, kind), kind, table).tolist() == labels


def test_two_tables_of_one_video_are_refused_before_any_work(table: Path) -> None:
    other, folder = table.parent / "smooth" / "clip.csv", table.parent / "out"
    write_table(make_table(LABELS), other, {})
    call = ["export", str(table), str(other), "--format", "elan", "-o", str(folder), "--overwrite"]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2
    assert f"{table} and {other} are both of clip; leave one out" in result.stderr
    assert not folder.exists()


@pytest.mark.parametrize("kind", IMPORT_FORMATS)
def test_people_are_kept_apart(tmp_path: Path, kind: str) -> None:
    both = [make_table(LABELS, subject="0"), make_table(LABELS[::-1], subject="1")]
    table = tmp_path / "clip.csv"
    write_table(pd.concat(both), table, {})
    file = export(table, kind)
    tier = "expression 1" if kind in ("elan", "textgrid") else "1"
    assert bring_back(file, kind, table, "--tier", tier).tolist() == LABELS[::-1]
    output = tmp_path / "refused.txt"
    arguments = ["import", str(file), "--from", kind, "-o", str(output), "--video", str(table)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and "has several tiers" in result.stderr


def test_elan_and_praat_read_what_is_written(table: Path) -> None:
    document = Elan.Eaf(str(export(table, "elan")))
    found = sorted(document.get_annotation_data_for_tier("expression"))
    assert [(a / 1000, b / 1000, text) for a, b, text in found] == SEGMENTS
    assert document.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./clip"
    grid = Praat.TextGrid(export(table, "textgrid"))
    rows = [row for row in grid.get_tier("expression").get_intervals(sort=True) if row[2]]
    assert [row[2] for row in rows] == [name for _, _, name in SEGMENTS]
    assert [row[:2] for row in rows] == [pytest.approx(row[:2]) for row in SEGMENTS]


@pytest.mark.parametrize("kind", IMPORT_FORMATS)
def test_times_before_zero(table: Path, kind: str) -> None:
    rows = make_table(LABELS)
    write_table(rows.assign(time_s=rows["time_s"] - 1.2), table, {})
    back = bring_back(export(table, kind), kind, table).tolist()
    before = 30 if kind in ("elan", "textgrid") else 0  # their times are from 0 on
    assert back[before:] == LABELS[before:] and set(back[:before]) <= {-1}


@pytest.mark.parametrize("kind", ["vtt", "srt"])
def test_players_read_the_subtitles(table: Path, kind: str) -> None:
    document = pysubs2.load(str(export(table, kind)))
    found = [(event.start / 1000, event.end / 1000, event.text) for event in document]
    assert found == SEGMENTS


def test_bids_events_keep_to_the_rules(table: Path) -> None:
    path = export(table, "bids")
    assert path.name == "clip_events.tsv"
    text = path.read_text()
    rows = pd.read_csv(io.StringIO(text), sep="\t")
    assert list(rows.columns[:3]) == ["onset", "duration", "trial_type"]  # in this order
    assert rows["onset"].is_monotonic_increasing and (rows["duration"] >= 0).all()
    assert rows["trial_type"].tolist() == [name for _, _, name in SEGMENTS]
    assert not re.search(r"\t(?:\t|\n|$)", text)  # missing values would be n/a
    described = json.loads(path.with_suffix(".json").read_text())
    assert set(rows.columns) <= set(described)
    assert set(described["trial_type"]["Levels"]) == set(CLASSES)


@pytest.mark.parametrize(
    ("name", "files", "media"),
    [
        ("clip_left", {"inputs": ["clip.mp4"]}, "../clip.mp4"),  # one person of two
        ("clip", {"inputs": ["crops/clip"], "companions": ["clip.mp4"]}, "../clip.mp4"),
        ("clip", {"inputs": ["clip.safetensors"]}, "./clip"),  # features are no medium
        ("clip", {"inputs": ["gone/clip.mp4"]}, "./clip.mp4"),
    ],
)
def test_an_elan_document_opens_the_video(
    tmp_path: Path, name: str, files: dict[str, list[str]], media: str
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"video")
    (tmp_path / "clip.safetensors").write_bytes(b"features")
    described = describe_work("predict", [tmp_path / "clip.mp4"], {})["inputs"][0]
    made = {kind: [described | {"name": each} for each in names] for kind, names in files.items()}
    write_table(make_table(LABELS, name), tmp_path / f"{name}.csv", {})
    write_provenance(tmp_path / f"{name}.csv", made)
    document = Elan.Eaf(str(export(tmp_path / f"{name}.csv", "elan", tmp_path / "out" / "x.eaf")))
    assert document.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == media


def test_boris_and_audacity(table: Path) -> None:
    events = pd.read_csv(export(table, "boris"), sep="\t")
    assert events["Behavior"].tolist() == [name for _, _, name in SEGMENTS]
    assert events["Stop (s)"].tolist() == pytest.approx([end for _, end, _ in SEGMENTS])
    track = [row.split("\t") for row in export(table, "audacity").read_text().splitlines()]
    assert [(float(a), float(b), text) for a, b, text in track] == SEGMENTS


def test_label_studio_counts_frames_from_one(table: Path) -> None:
    (task,) = json.loads(export(table, "labelstudio").read_text())
    values = [result["value"] for result in task["predictions"][0]["result"]]
    assert [value["timelinelabels"] for value in values] == [["Happiness"], ["Neutral"], ["Fear"]]
    assert [value["ranges"][0] for value in values] == [
        {"start": 1, "end": 25}, {"start": 36, "end": 60}, {"start": 61, "end": 75},
    ]  # fmt: skip


def test_label_studio_tells_frames_of_one_time_apart(tmp_path: Path) -> None:
    labels = [4] * 3 + [-1] + [3] * 3 + [0] * 3
    rows = make_table(labels)
    rows.loc[[3, 6], "time_s"] = rows.loc[[4, 7], "time_s"].to_numpy()  # that of the next frame
    write_table(rows, tmp_path / "clip.csv", {})
    file = tmp_path / "clip.json"
    exact = ["--min-duration", "0", "--max-gap", "0"]
    arguments = ["export", str(tmp_path / "clip.csv"), "--to", "labelstudio", "-o", str(file)]
    assert CliRunner().invoke(main, [*arguments, *exact]).exit_code == 0
    assert bring_back(file, "labelstudio", tmp_path / "clip.csv").tolist() == labels


def test_tables_of_frames(table: Path) -> None:
    source = make_table(LABELS)
    openface = pd.read_csv(export(table, "openface"))
    assert list(openface.columns[:5]) == ["frame", "face_id", "timestamp", "confidence", "success"]
    assert openface["success"].tolist() == source["found"].astype(int).tolist()
    np.testing.assert_allclose(openface[list(CLASSES)], source[list(PROBABILITY_COLUMNS)])
    wide = pd.read_csv(export(table, "wide"), keep_default_na=False)
    assert wide["label"][0] == "Happiness" and wide["label"][30] == "NA"
    long = pd.read_csv(export(table, "long"))
    assert len(long) == 8 * len(LABELS)
    assert long["class"][:8].tolist() == list(CLASSES) and long["frame"][8] == 2
    assert read_annotation(export(table, "abaw")).tolist() == LABELS


def test_every_format_has_an_own_name_and_finished_work_is_kept(table: Path) -> None:
    assert tuple(EXPORTERS) == EXPORT_FORMATS and tuple(IMPORTERS) == IMPORT_FORMATS
    files = {kind: export(table, kind) for kind in EXPORTERS}
    assert len(set(files.values())) == len(files)
    written = {kind: file.stat().st_mtime_ns for kind, file in files.items()}
    for kind, file in files.items():
        export(table, kind)
        assert file.stat().st_mtime_ns == written[kind]


@pytest.mark.parametrize(("kind", "suffix"), [("elan", ".eaf"), ("wide", ".csv")])
def test_a_name_of_another_format_is_refused(table: Path, kind: str, suffix: str) -> None:
    output = table.parent / "labels.xlsx"
    call = ["export", str(table), "--format", kind, "-o", str(output)]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2 and not output.exists()
    assert f"labels.xlsx must end in {suffix}, or be a folder" in result.stderr


def test_one_table_to_a_file_and_several_videos_to_a_folder(table: Path) -> None:
    output = table.parent / "labels.eaf"
    assert export(table, "elan", output).exists()
    both = table.parent / "both.csv"
    write_table(pd.concat([make_table(LABELS, "a/x"), make_table(LABELS, "b/x")]), both, {})
    arguments = ["export", str(both), "--to", "vtt", "-o"]
    refused = CliRunner().invoke(main, [*arguments, str(table.parent / "both.vtt")])
    assert refused.exit_code == 2 and "need a folder" in refused.stderr
    assert CliRunner().invoke(main, [*arguments, str(table.parent / "subs")]).exit_code == 0
    assert sorted(p.name for p in (table.parent / "subs").rglob("*.vtt")) == ["x.vtt", "x.vtt"]
    tables = ["export", str(table), str(both), "--to", "vtt", "-o"]
    refused = CliRunner().invoke(main, [*tables, str(table.parent / "all.vtt")])
    assert refused.exit_code == 2 and "2 inputs need a folder as -o" in refused.stderr
    dated = table.parent / "study_2026.11.28"  # no suffix of a file
    assert CliRunner().invoke(main, [*tables, str(dated)]).exit_code == 0
    assert len(list(dated.rglob("*.vtt"))) == 3


FRAMES = json.dumps([{"annotations": [{"result": [{
    "type": "timelinelabels", "value": {"ranges": [{"start": 1, "end": 4}],
    "timelinelabels": ["Fear"]}}]}]}])  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind", "options", "message"),
    [
        ("0.0\t1.0\tBored", "audacity", [], "unknown labels 'Bored'; give --map 'Bored=CLASS'"),
        ("0.0\t2.0\tFear\n1.0\t3.0\tAnger", "audacity", [], "is Fear and Anger"),
        ("3.0\t2.0\tFear", "audacity", [], "before it begins"),
        ("0.0 1.0 Fear", "audacity", [], "tab-separated"),
        ("soon\t1.0\tFear", "audacity", [], "'soon' is no time in seconds"),
        ("Behavior;Start (s);Stop (s)\nFear;1;2", "boris", [], "is separated by semicolons"),
        ("Behavior,Start\nFear,1", "boris", [], "has no column Start (s), Stop (s)"),
        ("Behavior,Start (s),Stop (s)\n\n\nFear,x,2", "boris", [], "line 4: 'x' is no time"),
        (f"Behavior,Start (s),Stop (s)\nFear,1,{'2' * 200_000}", "boris", [],
         "labels.bad, line 2: field larger than field limit"),
        ("0.0\t1.0\t\xb2", "audacity", [], "unknown labels '\xb2'"),
        ("[1, 2]", "labelstudio", [], "has 2 tasks"),
        (FRAMES.replace("4", "4" * 400), "labelstudio", [], "is no Label Studio export"),
        ('[{"annotations": [{"result": [{"type": "timelinelabels"}]}]}]', "labelstudio", [],
         "is no Label Studio export"),
        ("<x/>", "elan", [], "is no ELAN document"),
        ("nothing", "textgrid", [], "is no TextGrid of Praat"),
        ("<x/>\n" * 9, "textgrid", [], "labels.bad is no TextGrid of Praat"),
        ("0.0\t1.0\tFear", "audacity", ["--tier", "x"], "has no tier 'x'"),
    ],
)  # fmt: skip
def test_bad_files(table: Path, text: str, kind: str, options: list[str], message: str) -> None:
    file, output = table.parent / "labels.bad", table.parent / "labels.txt"
    file.write_text(text, "utf-8")
    arguments = ["import", str(file), "--from", kind, "-o", str(output), "--video", str(table)]
    result = CliRunner().invoke(main, [*arguments, *options])
    assert result.exit_code == 1, result.output
    assert message in " ".join(result.stderr.split())
    assert not output.exists()


@pytest.mark.parametrize("kind", ["elan", "textgrid", "boris"])
def test_a_file_that_is_missing_is_not_called_damaged(table: Path, kind: str) -> None:
    call = ["import", "none.x", "--format", kind, "-o", "l.txt", "--video", str(table)]
    assert CliRunner().invoke(main, call).stderr == "abaw: error: no such file: none.x\n"
    call[1] = str(table.parent)
    message = f"abaw: error: cannot read {table.parent}: it is a folder\n"
    assert CliRunner().invoke(main, call).stderr == message


def test_elan_slots_without_a_time_lie_evenly_between_others(table: Path) -> None:
    file = export(table, "elan")
    document = Elan.Eaf(str(file))
    names = list(document.timeslots)  # 0, 1, 1.4, 2.4, 2.4 and 3 seconds
    assert list(document.timeslots.values()) == [0, 1000, 1400, 2400, 2400, 3000]
    text = file.read_text()
    for name in names[2:4]:
        text = re.sub(rf'(TIME_SLOT_ID="{name}") TIME_VALUE="\d+"', r"\1", text)
    file.write_text(text)
    # 1.4 s comes to lie at 1.467 s, and 2.4 s at 1.933 s.
    wanted = [4] * 25 + [-1] * 12 + [0] * 12 + [-1] * 11 + [3] * 15
    assert bring_back(file, "elan", table).tolist() == wanted

    file.write_text(re.sub(r' TIME_VALUE="\d+"', "", text))
    arguments = ["import", str(file), "--from", "elan", "-o", str(table.parent / "back.txt")]
    result = CliRunner().invoke(main, [*arguments, "--video", str(table), "--overwrite"])
    assert result.exit_code == 1
    assert "an interval of the tier expression has no time" in " ".join(result.stderr.split())


def test_annotations_without_a_text_are_no_labels(table: Path) -> None:
    document = Elan.Eaf(str(export(table, "elan")))
    document.add_annotation("expression", 1000, 1400, " ")
    document.add_tier("notes")
    document.add_annotation("notes", 0, 3000, "")
    file = table.parent / "clip.eaf"
    document.to_file(str(file))
    assert bring_back(file, "elan", table).tolist() == LABELS
    assert bring_back(file, "elan", table, "--tier", "notes").tolist() == [-1] * len(LABELS)


def test_further_names_are_mapped_and_numbers_are_read(table: Path) -> None:
    file = table.parent / "labels.txt"
    file.write_text("0.0\t1.0\tsmile\n1.4\t2.4\t0\n2.4\t3.0\tfearful\n")
    assert bring_back(file, "audacity", table, "--map", "Smile=Happiness").tolist() == LABELS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_textgrids_have_the_encodings_of_praat(table: Path, encoding: str) -> None:
    file = export(table, "textgrid")
    file.write_text(file.read_text("utf-8").replace("Neutral", "Überdruß"), encoding)
    assert bring_back(file, "textgrid", table, "--map", "überdruß=Neutral").tolist() == LABELS


def test_labels_that_are_no_expressions_are_ignored(table: Path) -> None:
    file = table.parent / "labels.txt"
    file.write_text("0.0\t1.0\thappy\n0.5\t2.0\tGaze\n1.4\t2.4\t0\n2.4\t3.0\tfear\n")
    assert bring_back(file, "audacity", table, "--map", "gaze=none").tolist() == LABELS


def test_comments_of_boris_may_have_other_line_ends(table: Path) -> None:
    file = table.parent / "labels.tsv"
    rows = 'Happiness\t0\t1\tone\u2028two\nNeutral\t1.4\t2.4\t"a\n\nb"\nFear\t2.4\t3\t\n'
    file.write_text(f"Behavior\tStart (s)\tStop (s)\tComment\n{rows}", "utf-8")
    assert bring_back(file, "boris", table).tolist() == LABELS


def test_labels_that_count_frames_need_no_video(table: Path) -> None:
    file, output = export(table, "labelstudio"), table.parent / "clip.txt"
    arguments = ["import", str(file), "--from", "labelstudio", "-o", str(output)]
    assert CliRunner().invoke(main, [*arguments, "--frames", "75"]).exit_code == 0
    assert read_annotation(output).tolist() == LABELS
    refused = CliRunner().invoke(main, [*arguments, "--overwrite"])
    assert refused.exit_code == 2 and "give either the video" in refused.stderr
    audio = ["import", str(export(table, "audacity")), "--from", "audacity", "-o", str(output)]
    refused = CliRunner().invoke(main, [*audio, "--frames", "75", "--overwrite"])
    assert refused.exit_code == 2 and "has seconds" in refused.stderr


def test_of_several_annotations_the_last_one_is_read_with_a_warning(table: Path) -> None:
    file = export(table, "labelstudio")
    (task,) = json.loads(file.read_text())
    task["annotations"] = [{"result": []}, *task["predictions"]]
    file.write_text(json.dumps([task]))
    call = ["import", str(file), "--format", "labelstudio", "--frames", "75", "-o"]
    result = CliRunner().invoke(main, [*call, str(table.parent / "clip.txt")])
    assert " ".join(result.stderr.split()).count("has 2 annotations of the video; the last") == 1
    assert read_annotation(table.parent / "clip.txt").tolist() == LABELS


def test_a_frame_without_a_time_is_named(table: Path) -> None:
    file = export(table, "audacity")
    hole = make_table(LABELS).assign(time_s=lambda rows: rows["time_s"].replace(0, np.nan))
    write_table(hole, table, {})
    output = str(table.parent / "back.txt")
    arguments = ["import", str(file), "--from", "audacity", "-o", output, "--video", str(table)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    wrong = "clip.csv, frame 1: its time_s is empty; predict again, or give the video itself as"
    assert wrong in " ".join(result.stderr.split())


def test_missing_frames_of_a_table_keep_their_lines(table: Path) -> None:
    file = export(table, "audacity")
    rows = make_table(LABELS)
    write_table(rows[(rows["frame"] > 3) & (rows["frame"] != 30)], table, {})
    assert bring_back(file, "audacity", table).tolist() == [-1] * 3 + LABELS[3:]


def test_a_table_of_several_videos_has_not_the_frames_of_one(table: Path) -> None:
    file, output = export(table, "audacity"), table.parent / "back.txt"
    write_table(pd.concat([make_table(LABELS, "a"), make_table(LABELS, "b")]), table, {})
    arguments = ["import", str(file), "--from", "audacity", "-o", str(output), "--video"]
    result = CliRunner().invoke(main, [*arguments, str(table)])
    assert result.exit_code == 1 and not output.exists()
    assert "has 2 videos; labels are of the frames of one" in " ".join(result.stderr.split())


def test_a_csv_of_imported_labels_is_scored(table: Path) -> None:
    output = table.parent / "truth.csv"
    arguments = ["import", str(export(table, "elan")), "--from", "elan", "-o", str(output)]
    assert CliRunner().invoke(main, [*arguments, "--video", str(table)]).exit_code == 0
    result = CliRunner().invoke(main, ["score", str(table), str(output), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["accuracy"] == 1.0


@pytest.mark.parametrize(("suffix", "kind", "is_late"), [
    (".ts", "elan", True), (".ts", "wide", False), (".mp4", "elan", False),
])  # fmt: skip
def test_a_video_whose_clock_begins_late_is_named(
    tmp_path: Path, suffix: str, kind: str, is_late: bool
) -> None:
    pictures = [counting_picture(k) for k in range(5)]
    video = write_media(tmp_path / f"my clip{suffix}", pictures, times=range(35, 40))
    work = describe_work("predict", [video], {})
    write_table(make_table([4] * 5).assign(video="my clip"), tmp_path / "clip.csv", work)
    arguments = ["export", str(tmp_path / "clip.csv"), "--format", kind, "-o", f"{tmp_path}/out/"]
    result = CliRunner().invoke(main, arguments)
    said = " ".join(result.stderr.split())
    assert result.exit_code == 0
    assert ("the clock of my clip.ts begins at 1.4" in said) is is_late
    assert ("-i 'my clip.ts' -c copy 'my clip.mkv'" in said) is is_late
