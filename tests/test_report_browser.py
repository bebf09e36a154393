"""The report in a real browser: what a click, a key, a sort and a hostile name do."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import FIND_PALE_TEXT, open_browser, read_shown_count, set_scheme, take_picture
from click.testing import CliRunner
from media_files import counting_picture, write_media
from sample_tables import make_table
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from abawcli.cli import main
from abawcli.formats.abaw import write_annotation
from abawcli.formats.tables import write_table

FRAMES = 100
PATIENCE_S = 30  # of waits, which end as soon as they can; a busy machine is slow
# Hundredths of a second at which frames begin: an uneven rate, half a second after the clock.
TICKS = 50 + np.cumsum([0, *([3, 5, 4, 4] * 25)[:-1]])
END_S = (TICKS[-1] + 4) / 100  # the last frame lasts the median interval
LABELS = [0] * 40 + [4] * 20 + [-1] * 10 + [6] * 30
# Errors: frames 31 to 40 (Neutral), 41 to 45 (Happiness), and 61 to 70, which have no label.
TRUTH = [0] * 30 + [1] * 10 + [2] * 5 + [4] * 15 + [5] * 10 + [6] * 30
HOSTILE = ['<script>document.title="pwned"</script>', '"onload="document.title=1', "</script><b>"]


def write_clip(folder: Path, name: str) -> None:
    """Write a clip whose frames show their numbers, from 1, and its table."""
    pictures = [counting_picture(k) for k in range(1, FRAMES + 1)]
    ticks = TICKS.tolist()
    write_media(folder / f"{name}.mp4", pictures, times=ticks, time_base=Fraction(1, 100))
    table = make_table(LABELS, name).assign(time_s=TICKS / 100, x=10.0, y=10.0, w=40.0, h=40.0)
    write_table(table, folder / f"{name}.csv", {})


def run_report(*arguments: object) -> None:
    result = CliRunner().invoke(main, ["report", *map(str, arguments)])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip and its report, and one of five videos, three of them with hostile names."""
    folder = tmp_path_factory.mktemp("study")
    write_clip(folder, "clip")
    write_annotation(np.array(LABELS), folder / "clip.txt")
    truth = ["--labels", folder / "clip.txt"]
    run_report(folder / "clip.csv", "--videos", folder, *truth, "-o", folder / "clip.html")
    write_annotation(np.array(TRUTH), folder / "wrong" / "clip.txt")
    write_annotation(np.array([0] * 90 + [3] * 10), folder / "wrong" / "other.txt")
    write_table(make_table([0] * 100, "other"), folder / "other.csv", {})
    both = folder / "clip.csv", folder / "other.csv"
    wrong = ["--videos", folder, "--labels", folder / "wrong"]
    for output in ("errors.html", "errors"):
        run_report(*both, *wrong, "-o", folder / output)
    study = folder / "study"
    study.mkdir()
    shares = {"P1": 20, "P2": 80, "P10": 50, **dict.fromkeys(HOSTILE, 10)}
    for k, (name, happy) in enumerate(shares.items()):
        write_table(make_table([4] * happy + [0] * (100 - happy), name), study / f"{k}.csv", {})
    conditions = ["a", "b", "b", *HOSTILE]
    people = pd.DataFrame({"video": list(shares), "condition": conditions})
    people.to_csv(folder / "people.csv", index=False)
    run_report(study, "--participants", folder / "people.csv", "-o", folder / "study.html")
    run_report(study, "--participants", folder / "people.csv", "-o", folder / "pages")
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Chrome]:
    """The browser; at the end nothing was complained about, and nothing came from a network."""
    chromium.get_log("browser")
    yield chromium
    assert chromium.get_log("browser") == []
    read = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert [name for name in chromium.execute_script(read) if not name.startswith("file:")] == []


def open_page(browser: Chrome, path: Path) -> None:
    if browser.current_url.partition("#")[0] == path.as_uri():
        browser.get("about:blank")  # a page that differs by its #hash would not load again
    browser.get(path.as_uri())


def open_clip(browser: Chrome, reports: Path) -> tuple[WebElement, WebElement]:
    """Open the page of the clip, or go back to its beginning; return its player and timeline."""
    path = reports / "clip.html"
    there = browser.current_url == path.as_uri()
    if not there:
        browser.get(path.as_uri())
    video = browser.find_element(By.TAG_NAME, "video")
    slider = browser.find_element(By.CSS_SELECTOR, "[role=slider]")
    wait_for(browser, "return document.querySelector('video').readyState >= 2")
    if there:
        slider.send_keys(Keys.HOME)
        wait_for(browser, "return !document.querySelector('video').seeking")
    return video, slider


def read_texts(browser: Chrome, selector: str) -> list[str]:
    """Return the texts of the elements that are shown, in one call: each call takes long."""
    return browser.execute_script(
        """return [...document.querySelectorAll(arguments[0])]
        .filter((element) => element.checkVisibility())
        .map((element) => element.innerText.trim());""",
        selector,
    )


def wait_for(browser: Chrome, script: str) -> None:
    WebDriverWait(browser, PATIENCE_S, 0.02).until(lambda b: b.execute_script(script))


def wait_for_count(video: WebElement, frame: int) -> None:
    """Wait until the player shows the picture with this number: it may be drawn a little later."""
    wait_for(video.parent, "return ![...document.querySelectorAll('video')].some(v => v.seeking)")
    WebDriverWait(video, PATIENCE_S, 0.02).until(lambda v: read_shown_count(v) == frame)


def click_at(browser: Chrome, slider: WebElement, share: float) -> None:
    width = slider.rect["width"]
    ActionChains(browser, 0).move_to_element_with_offset(
        slider, round((share - 0.5) * width), 0
    ).click().perform()


def find_frame(time_s: float) -> int:
    return int(np.searchsorted(TICKS / 100, time_s + 1e-6, side="right"))


def read_readout(browser: Chrome) -> str:
    (text,) = read_texts(browser, ".readout")
    return text


def test_a_click_moves_the_video_to_the_frame_under_it(browser: Chrome, reports: Path) -> None:
    video, slider = open_clip(browser, reports)
    for share in (0.3, 0.62, 0.95):
        click_at(browser, slider, share)
        wanted = find_frame(0.5 + share * (END_S - 0.5))
        shown = int(read_readout(browser).split("frame ")[1].split()[0])
        assert abs(shown - wanted) <= 1
        wait_for_count(video, shown)
        cursor = browser.find_element(By.CLASS_NAME, "cursor").rect
        place = (cursor["x"] + 1 - slider.rect["x"]) / slider.rect["width"]
        assert place == pytest.approx(share, abs=0.015)


def test_every_frame_is_shown_with_its_own_label(browser: Chrome, reports: Path) -> None:
    video, slider = open_clip(browser, reports)
    for frame in (1, 40, 41, 60, 61, 71, 100):
        browser.execute_script(f"timelines.values().next().value.seek({frame - 1})")
        wait_for_count(video, frame)
        label = LABELS[frame - 1]
        said = {0: "Neutral 65 %, from face, annotated Neutral", 4: "Happiness", 6: "Surprise"}
        assert said.get(label, "no label") in read_readout(browser)


def test_keys_move_the_video_and_zoom(browser: Chrome, reports: Path) -> None:
    video, slider = open_clip(browser, reports)
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    wait_for_count(video, 3)
    assert slider.get_attribute("aria-valuenow") == "0.580"
    assert "0:00.58, Neutral 65 %" in (slider.get_attribute("aria-valuetext") or "")
    slider.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT, Keys.NULL)
    assert "frame 28 of" in read_readout(browser)
    slider.send_keys(Keys.END)
    wait_for_count(video, 100)
    before = take_picture(browser.find_element(By.TAG_NAME, "canvas"))
    slider.send_keys("+")
    assert browser.find_element(By.CLASS_NAME, "pan").is_displayed()
    after = take_picture(browser.find_element(By.TAG_NAME, "canvas"))
    assert (before != after).any()
    slider.send_keys("-")
    assert not browser.find_element(By.CLASS_NAME, "pan").is_displayed()
    slider.send_keys(Keys.HOME)
    assert "frame 1 of" in read_readout(browser)
    open_page(browser, reports / "clip.html")  # nothing is chosen yet
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ARROW_RIGHT)
    assert "frame 2 of" in read_readout(browser)


def test_the_playing_video_moves_the_cursor(browser: Chrome, reports: Path) -> None:
    video, slider = open_clip(browser, reports)
    slider.send_keys(" ")
    wait_for(browser, "return document.querySelector('video').currentTime > 0.9")
    slider.send_keys(" ")
    wait_for(browser, "return document.querySelector('video').paused")
    wait_for(browser, "return document.querySelector('[data-do=play]').innerText === 'Play'")
    time_s = browser.execute_script("return document.querySelector('video').currentTime")
    shown = float(slider.get_attribute("aria-valuenow") or "nan")
    assert 0.8 < shown <= time_s + 1e-3 and time_s - shown < 0.15


def test_buttons_jump_to_labels_segments_and_gaps(browser: Chrome, reports: Path) -> None:
    open_clip(browser, reports)
    for _ in range(2):
        browser.find_element(By.CSS_SELECTOR, "[data-do='change+']").click()
    assert "frame 61 of" in read_readout(browser)
    browser.find_element(By.CSS_SELECTOR, "[data-do='change-']").click()
    assert "frame 41 of" in read_readout(browser)
    browser.find_element(By.CSS_SELECTOR, "dd .jump").click()  # the gap
    assert "frame 61 of" in read_readout(browser)
    assert read_texts(browser, ".film .jump")[2].split() == ["Surprise", "0:03.3"]
    browser.find_elements(By.CSS_SELECTOR, ".film .jump")[2].click()
    assert "frame 71 of" in read_readout(browser)
    browser.find_element(By.CSS_SELECTOR, "td .jump").click()
    assert "frame 1 of" in read_readout(browser)


@pytest.mark.parametrize("page", ["errors.html", "errors/index.html"])
def test_errors_lead_to_their_frames(browser: Chrome, reports: Path, page: str) -> None:
    open_page(browser, reports / page)
    frames = read_texts(browser, "#errors tbody td:nth-of-type(3)")
    assert frames == ["31–40", "91–100", "41–45", "61–70"]  # by confidence times seconds
    assert "Anger → Neutral" in " ".join(read_texts(browser, "#errors tbody tr")[0].split())
    browser.find_element(By.CSS_SELECTOR, "#errors tbody a").click()
    wait_for(browser, "return document.querySelector('section.video:not([hidden]) canvas')")
    wait_for(browser, "return document.title === 'clip'")
    assert "frame 31 of" in read_readout(browser)
    section = browser.find_element(By.CSS_SELECTOR, "section.video:not([hidden])")
    errors = section.find_elements(By.CSS_SELECTOR, ".errors .jump:has(img)")
    assert len(section.find_elements(By.CSS_SELECTOR, ".errors .jump")) == len(errors) == 3
    errors[2].click()
    assert "frame 61 of" in read_readout(browser)
    video = section.find_element(By.TAG_NAME, "video")
    wait_for_count(video, 61)


def test_an_embedded_video_plays_without_its_file(browser: Chrome, reports: Path) -> None:
    output = reports / "embedded.html"
    run_report(reports / "clip.csv", "--videos", reports, "--embed", "-o", output)
    alone = reports / "elsewhere" / "embedded.html"
    alone.parent.mkdir()
    output.rename(alone)
    open_page(browser, alone)
    wait_for(browser, "return document.querySelector('video').readyState >= 2")
    click_at(browser, browser.find_element(By.CSS_SELECTOR, "[role=slider]"), 0.5)
    shown = int(read_readout(browser).split("frame ")[1].split()[0])
    assert abs(shown - find_frame(0.5 + 0.5 * (END_S - 0.5))) <= 1
    wait_for_count(browser.find_element(By.TAG_NAME, "video"), shown)


def test_a_video_that_cannot_be_played_is_said(chromium: Chrome, reports: Path) -> None:
    moved = reports / "moved"
    moved.mkdir()
    page = moved / "clip.html"
    page.write_bytes((reports / "clip.html").read_bytes())  # its link leads nowhere from here
    open_page(chromium, page)
    wait_for(chromium, "return !document.querySelector('.broken').hidden")
    assert "cannot play clip.mp4" in read_texts(chromium, ".broken")[0]
    chromium.find_element(By.CSS_SELECTOR, "[role=slider]").send_keys(Keys.END)
    assert "frame 100 of" in read_readout(chromium)


def read_names(browser: Chrome) -> list[str]:
    return read_texts(browser, "#videos tbody th")


def find_head(browser: Chrome, name: str) -> WebElement:
    names = [text.strip(" ▲▼") for text in read_texts(browser, "#videos thead th")]
    return browser.find_elements(By.CSS_SELECTOR, "#videos thead th")[names.index(name)]


def test_columns_sort_by_mouse_and_by_keyboard(browser: Chrome, reports: Path) -> None:
    open_page(browser, reports / "study.html")
    head = find_head(browser, "Happiness")
    head.find_element(By.TAG_NAME, "button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert read_names(browser)[3:] == ["P1", "P10", "P2"]
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert read_names(browser)[:3] == ["P2", "P10", "P1"]
    find_head(browser, "video").find_element(By.TAG_NAME, "button").click()
    assert [n for n in read_names(browser) if n.startswith("P")] == ["P1", "P2", "P10"]
    assert head.get_attribute("aria-sort") == "none"


def test_filters_and_groups_follow_the_participants(browser: Chrome, reports: Path) -> None:
    open_page(browser, reports / "study.html")
    rows = [row.split("\t") for row in read_texts(browser, "#group-table tbody tr")]
    cells = {name: values for name, *values in rows}
    assert cells["b"][:2] == ["2", "35.0 ± 21.2 %"]  # n, Neutral: of 20 % and 50 %
    assert cells["a"][1] == "80.0 %"
    assert len(browser.find_elements(By.CSS_SELECTOR, "#group-plots svg[role=img]")) == 8
    browser.find_element(By.ID, "filter-name").send_keys("p1")
    assert read_names(browser) == ["P1", "P10"]
    assert read_texts(browser, "#filter-count") == ["2 of 6 rows"]
    rows = [row.split("\t") for row in read_texts(browser, "#group-table tbody tr")]
    assert [row[:2] for row in rows] == [["a", "1"], ["b", "1"]]


def test_hostile_names_are_inert_and_shown_as_they_are(browser: Chrome, reports: Path) -> None:
    open_page(browser, reports / "study.html")
    assert browser.title == "Expressions in 6 videos"
    assert sorted(read_names(browser)) == sorted(["P1", "P2", "P10", *HOSTILE])
    assert sorted(read_texts(browser, "#group-table tbody th")) == sorted(["a", "b", *HOSTILE])
    for name in HOSTILE:
        browser.find_element(By.LINK_TEXT, name).click()
        wait_for(browser, "return document.getElementById('index').hidden")
        assert read_texts(browser, "h1") == [name] and browser.title == name
        assert browser.find_elements(By.CSS_SELECTOR, "[onload], main b") == []
        browser.back()
        wait_for(browser, "return !document.getElementById('index').hidden")


def test_pages_of_a_folder_lead_to_each_other(browser: Chrome, reports: Path) -> None:
    open_page(browser, reports / "pages" / "index.html")
    for name in ("P10", HOSTILE[2]):
        browser.find_element(By.LINK_TEXT, name).click()
        assert read_texts(browser, "h1") == [name]
        browser.find_element(By.LINK_TEXT, "All videos").click()
        assert len(read_names(browser)) == 6


CONTROLS = {"button", "combobox", "image", "link", "region", "searchbox", "slider", "Video"}


def check_contrast(browser: Chrome) -> None:
    """Check that all text of the page is easy to read."""
    for scheme in ("dark", "light"):  # light is that of the other tests
        set_scheme(browser, scheme)
        checked, pale = browser.execute_script(FIND_PALE_TEXT)
        assert checked > 50 and pale == [], scheme


def check_names(browser: Chrome) -> set[str]:
    """Check that controls have names, and that ids are unique; return the roles of controls."""
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    seen = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in nodes
        if not node["ignored"]
    ]
    controls = [each for each in seen if each[0] in CONTROLS]
    assert [each for each in controls if not each[1]] == []
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    return {role for role, _ in controls}


def test_all_text_has_contrast_and_controls_have_names(browser: Chrome, reports: Path) -> None:
    roles = set()
    for page in ("clip.html", "study.html", "errors.html"):
        open_page(browser, reports / page)
        check_contrast(browser)
        roles |= check_names(browser)
    assert roles == CONTROLS


def test_many_videos_open(browser: Chrome, tmp_path: Path) -> None:
    labels = [0] * 5 + [4] * 5
    tables = [make_table(labels, f"P{k:03d}") for k in range(30)]
    write_table(pd.concat(tables), tmp_path / "all.csv", {})
    run_report(tmp_path / "all.csv", "-o", tmp_path / "all.html")
    open_page(browser, tmp_path / "all.html")
    assert read_texts(browser, "#filter-count") == ["30 of 30 rows"]
    browser.find_element(By.LINK_TEXT, "P023").click()
    wait_for(browser, "return document.title === 'P023'")
    assert read_readout(browser).startswith("0:00.00, frame 1 of 10")


def test_the_data_of_a_page_is_json(reports: Path) -> None:
    text = (reports / "study.html").read_text(encoding="utf-8")
    parts = text.split('<script type="application/json"')[1:]
    assert len(parts) == 8  # a look, an index, six videos
    for part in parts:
        json.loads(part.split(">", 1)[1].split("</script>")[0])
