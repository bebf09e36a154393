"""The pages of a report: one file, or a folder with an index and a page per video."""

import base64
import hashlib
import mimetypes
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from abawcli import __version__
from abawcli.config import Report, Segmentation
from abawcli.errors import InputError
from abawcli.formats.inputs import locate_inputs, relate_path
from abawcli.formats.json_values import JsonObject
from abawcli.formats.outputs import is_folder_name
from abawcli.formats.participants import Groups
from abawcli.formats.provenance import (
    Provenance,
    describe_work,
    find_finished,
    write_result,
)
from abawcli.formats.summary import keep_warnings
from abawcli.labels import CLASSES
from abawcli.views.palette import COLOURS, SOURCE_COLOURS, SOURCE_TEXTS
from abawcli.views.report.content import LOOK, describe_index, describe_video
from abawcli.views.report.methods import CITATION, write_methods
from abawcli.views.report.recordings import Cut, SourceVideo, cut_pictures, find_recordings
from abawcli.views.report.study import Study, Video, read_study
from abawcli.views.timeline import format_time

PAGE_SUFFIXES = frozenset({".html", ".htm"})
INDEX_NAME = "index.html"
PAGES_FOLDER = "videos"
NAME_LENGTH = 80  # characters of a page's name


@dataclass(frozen=True)
class ReportSettings:
    """The settings of a report."""

    embed: bool = False  # videos within the pages, instead of links to them
    chosen: bool = False  # a user chose the columns to compare by
    pictures: Report = Report()
    segmentation: Segmentation = Segmentation()


@dataclass(frozen=True)
class Page:
    """A file of the report."""

    path: Path
    videos: list[Video]  # with a section each
    inputs: list[Path]
    index: bool  # with a table of all videos
    home: str  # where that table is, as seen from here; nowhere if there is none
    links: dict[str, str]  # video -> where its section is, as seen from here


def report_files(
    tables: Sequence[str | Path],
    output: str | Path,
    labels: Iterable[str | Path] = (),
    *,
    videos: str | Path | None = None,
    groups: Groups | None = None,
    settings: ReportSettings | None = None,
    overwrite: bool = False,
) -> Provenance:
    """Write the report of prediction tables; return the provenance of its first page.

    `output` is one file, .html, or a folder of index.html and a page for each video. Recordings
    are searched for in `videos`, or at the paths in the tables' provenance. The `summary` counts
    videos and names unreadable files in `failed`. Finished pages are kept.

    Raises:
        InputError: no table can be read, none has times, or the participants file is none.
        OutputError: an output exists and may not be replaced, or cannot be written.
    """
    paths, annotations, output = [*map(Path, tables)], locate_inputs(labels), Path(output)
    settings = settings or ReportSettings()
    failed: dict[str, str] = {}
    study = read_study(paths, annotations, groups, failed=failed, config=settings.segmentation)
    recordings = find_recordings(study.videos, Path(videos) if videos else None)
    companions = [*annotations, *([groups.file] if groups else [])]
    # A page without these is another one, but companions that are gone count as unchanged.
    shown = {
        "labels": [name.as_posix() for name in annotations.values()],
        "participants": groups.file.name if groups else None,
    }
    for page in reversed(list_pages(study, output, paths)):  # the first one says that all is done
        described = _describe_settings(page, settings, recordings, groups) | shown
        work = describe_work("report", page.inputs, described, companions=companions)
        done = find_finished(page.path, work, overwrite)
        if done is None:
            _write_page(page, study, recordings, settings, work=work)
        failed |= (done or work)["summary"]["failed"]
    return work | {"summary": {"videos": len(study.videos), "failed": failed}}


def _write_page(
    page: Page,
    study: Study,
    recordings: Mapping[str, SourceVideo],
    settings: ReportSettings,
    *,
    work: Provenance,
) -> None:
    """Write a page with its provenance, in which recordings that could not be used are named."""
    failed: dict[str, str] = {}
    with keep_warnings(work):
        text = _render_page(page, study, recordings, settings, failed=failed)
        work["summary"] = {"videos": len(page.videos), "failed": failed}
        with write_result(page.path, work) as temporary:
            # Bytes of a name that are no text become question marks.
            temporary.write_bytes(text.encode("utf-8", "replace"))


def list_pages(study: Study, output: str | Path, tables: Sequence[str | Path]) -> list[Page]:
    """Return the pages of a report, the index first."""
    output, files = Path(output), list(map(Path, tables))
    videos = study.videos
    if not is_folder_name(output, PAGE_SUFFIXES, 1):
        links = {video.name: f"#video-{k}" for k, video in enumerate(videos, 1)}
        several = len(videos) > 1
        return [
            Page(
                path=output,
                videos=videos,
                inputs=files,
                index=several,
                home="#index" if several else "",
                links=links,
            )
        ]
    names = {video.name: name_page(video.name) for video in videos}
    below = {video: f"{PAGES_FOLDER}/{quote(name)}" for video, name in names.items()}
    beside = {video: quote(name) for video, name in names.items()}
    home, folder = f"../{INDEX_NAME}", output / PAGES_FOLDER
    return [
        Page(path=output / INDEX_NAME, videos=[], inputs=files, index=True, home="", links=below)
    ] + [
        Page(
            path=folder / names[video.name],
            videos=[video],
            inputs=video.tables,
            index=False,
            home=home,
            links=beside,
        )
        for video in videos
    ]


def name_page(video: str) -> str:
    """Return the file name of a video's page: its name, without characters that files cannot have.

    A changed name gets a hash, so that `a/P01` and `b/P01`, or `P<1>` and `P>1<`, differ.
    """
    name = re.sub(r"[^\w.-]+", "_", video).lstrip(".")[:NAME_LENGTH] or "_"
    if name != video:
        name += "-" + hashlib.sha256(video.encode()).hexdigest()[:8]
    return f"{name}.html"


def _describe_settings(
    page: Page,
    settings: ReportSettings,
    recordings: Mapping[str, SourceVideo],
    groups: Groups | None,
) -> JsonObject:
    """Return the settings of a page as JSON."""
    shown = {
        video.name: {"sha256": found.sha256, "link": link_file(found.path, page.path)}
        for video in page.videos
        if (found := recordings.get(video.name))
    }
    return asdict(settings) | {
        "by": list(groups.columns) if groups else [],
        "recordings": shown,
        "links": page.links,
    }


def link_file(path: str | Path, page: str | Path) -> str:
    """Return the URL of a file as seen from a page, relative if they are on one drive."""
    name = relate_path(path, Path(page).parent)
    if os.path.isabs(name):
        return Path(name).as_uri()
    return quote(os.fsencode(name).replace(b"\\", b"/"))


def embed_file(path: str | Path) -> str:
    """Return a file as a data URI."""
    path = Path(path)
    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _cut(
    video: Video, recording: SourceVideo | None, config: Report, failed: dict[str, str]
) -> Cut | None:
    """Cut pictures; None, with the reason in `failed`, if the recording cannot be used."""
    try:
        return cut_pictures(video, recording, config) if recording else None
    except InputError as error:
        failed[video.name] = str(error)
        return None


def _list_neighbours(video: str, links: Mapping[str, str]) -> dict[str, str]:
    """Return the links from one video to the one before and the one after."""
    names = list(links)
    k = names.index(video)
    before = {f"Previous: {name}": links[name] for name in names[max(k - 1, 0) : k]}
    return before | {f"Next: {name}": links[name] for name in names[k + 1 : k + 2]}


@cache
def _load_template() -> Template:
    """Compile the template once: for many pages, that would take longer than all else."""
    environment = Environment(
        loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=lambda value: "" if value is None else value,
    )  # fmt: skip
    environment.filters |= {"mss": format_time}
    return environment.get_template("report.html")


def _render_page(
    page: Page,
    study: Study,
    recordings: Mapping[str, SourceVideo],
    settings: ReportSettings,
    *,
    failed: dict[str, str],
) -> str:
    """Return the HTML of a page."""
    sections, most = [], settings.pictures.errors
    for video in page.videos:
        recording = recordings.get(video.name)
        cut = _cut(video, recording, settings.pictures, failed)
        link = ""
        if recording and cut:
            path = recording.path
            link = embed_file(path) if settings.embed else link_file(path, page.path)
        described = describe_video(
            video, recording, cut, link, config=settings.segmentation, errors=most
        )
        sections.append(described | {"links": _list_neighbours(video.name, page.links)})
    package = files(__package__)
    parts = [package.joinpath(name) for name in ("timeline.js", "script.js")]
    script = "\n".join(part.read_text(encoding="utf-8") for part in parts)
    shown = page.videos or study.videos
    max_groups = None if settings.chosen else settings.pictures.max_groups
    return _load_template().render(
        title=shown[0].name if len(shown) == 1 and page.videos else "Expressions in videos",
        style=Markup(package.joinpath("style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        index=describe_index(study, page.links, max_groups, most) if page.index else None,
        home=page.home,
        sections=sections,
        colours=COLOURS,
        source_colours=SOURCE_COLOURS,
        source_texts=SOURCE_TEXTS,
        classes=CLASSES,
        look=LOOK,
        methods=write_methods(shown, settings.segmentation),
        citation=CITATION,
        version=__version__,
    )
