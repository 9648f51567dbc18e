"""The report in a real Chromium: the script runs, videos play in sync, hostile text stays text."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.report.folder import rebuild_report, write_report

from ..browser import CHROMIUM, Page, chromium
from .test_folder import HOSTILE, content

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

STATE = "document.documentElement.dataset"
LOADED = "[...document.querySelectorAll('video[src]')].every(v => v.readyState >= 2)"
READY = "[...document.querySelectorAll('video[src]')].every(v => v.readyState >= 2 && !v.seeking)"
TIMES = "[...document.querySelectorAll('video[src]')].slice(0, 3).map(v => v.currentTime)"


def choose(page: Page, control: str, value: object, event: str) -> None:
    """Set a control and dispatch its event in one step, because a playing report moves its scrub bar itself."""
    at = f"document.getElementById('{control}')"
    page.value(f"{at}.value = '{value}'; {at}.dispatchEvent(new Event('{event}'))")


def shows(name: str) -> str:
    return f"a.innerText.includes({json.dumps(name)})"


def seen(page: Page, case: str, column: str, folder: Path) -> np.ndarray:
    """Return the screenshot of one cell of the grid, reduced to the clip's size: (H, W, 3)."""
    page.wait_for(READY)
    page.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    cell = f"[...document.querySelectorAll('article')].find(a => {shows(case)})"
    video = f"{cell}.querySelector('video[aria-label^=\"{column}\"]')"
    left, top, wide, tall = page.value(
        f"(() => {{ const r = {video}.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; }})()"
    )
    page.picture(folder / "seen.png")
    picture = Image.open(folder / "seen.png").convert("RGB")
    box = (left, top, left + wide, top + tall)
    return np.asarray(picture.resize((64, 64), Image.Resampling.BOX, box=box), dtype=float)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    made = content(5)
    held_out = [replace(case, prompt=HOSTILE, task=f"{HOSTILE}{place % 2}") for place, case in enumerate(made.cases)]
    hostile = replace(made, cases=held_out, comparison=compare(held_out, made.candidates), lineage={HOSTILE: HOSTILE})
    index = write_report(tmp_path_factory.mktemp("run") / "report", hostile)
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(index.as_uri())
        opened.wait_for(f"{STATE}.player === 'playing' && {LOADED}")
        yield opened


def test_the_player_runs_without_policy_violations(page: Page) -> None:
    assert page.value(f"{STATE}.videos") == str(6 * 4 + 3)
    page.wait_for(f"{STATE}.frame !== '0'")
    assert page.value(f"{STATE}.violations") == "0"
    assert page.log == []


def test_hostile_text_stays_text(page: Page) -> None:
    assert page.value("document.title") == "Pocket to a new camera"
    assert page.value("document.images.length") == 0
    assert page.value("document.querySelectorAll('script:not([type])').length") == 1
    assert HOSTILE in page.value("document.body.innerText")


def test_stepping_moves_every_video_to_the_same_frame(page: Page) -> None:
    choose(page, "scrub", 7, "input")
    page.value("document.getElementById('forward').click()")
    page.wait_for(READY)
    assert page.value(f"[{STATE}.player, {STATE}.frame]") == ["paused", "8"]
    assert page.value(TIMES) == pytest.approx([8.5 / 16] * 3, abs=1e-3)
    page.value("document.getElementById('back').click()")
    page.wait_for(READY)
    assert page.value(TIMES) == pytest.approx([7.5 / 16] * 3, abs=1e-3)


def test_videos_load_near_the_screen_and_unload_away_from_it(page: Page) -> None:
    last = "[...document.querySelectorAll('video[data-src]')].at(-1)"
    assert page.value(f"{last}.hasAttribute('src')") is False
    page.value(f"{last}.scrollIntoView()")
    page.wait_for(f"{last}.readyState >= 2 && !{last}.seeking")
    assert page.value(f"[{last}.videoWidth, {last}.videoHeight]") == [256, 256]
    assert page.value(f"{last}.currentTime") == pytest.approx((int(page.value(f"{STATE}.frame")) + 0.5) / 16, abs=1e-3)
    page.value("scrollTo(0, 0)")
    page.wait_for(f"!{last}.hasAttribute('src')")


def test_the_screen_shows_the_named_frame(page: Page, tmp_path: Path) -> None:
    case = content(5).cases[0]

    def wait_for_cell(column: str, is_right: Callable[[np.ndarray], bool]) -> np.ndarray:
        """Return the cell once it is right: a busy machine paints a frame some time after it was decoded."""
        deadline = time.monotonic() + 30
        while not is_right(shown_HWC := seen(page, case.name, column, tmp_path)):
            assert time.monotonic() < deadline, f"the screen does not show frame {frame} of {column}"
        return shown_HWC

    def near(expected_HWC: np.ndarray, levels: float) -> Callable[[np.ndarray], bool]:
        return lambda shown_HWC: bool(np.abs(shown_HWC - expected_HWC).mean() < levels)

    page.value(f"[...document.querySelectorAll('article')].find(a => {shows(case.name)}).scrollIntoView()")
    for frame in (2, 9):
        choose(page, "scrub", frame, "input")
        truth_HWC = case.reference.read()[frame].astype(float)
        wait_for_cell("reference", near(truth_HWC, 4))
        base_HWC = content(5).candidates["base"][case.name][0].read()[frame].astype(float)
        wait_for_cell("base", near(base_HWC, 8))

    page.value("document.getElementById('difference').click()")
    distance_HW = (4 * np.abs(base_HWC - truth_HWC) @ [0.2126, 0.7152, 0.0722]).clip(0, 255)

    def shows_difference(shown_HWC: np.ndarray) -> bool:
        return bool(np.corrcoef(shown_HWC[..., 0].ravel(), distance_HW.ravel())[0, 1] > 0.9)

    shown_HWC = wait_for_cell("base", shows_difference)
    assert np.ptp(shown_HWC, axis=2).max() <= 2, "the difference is gray"
    wait_for_cell("reference", near(truth_HWC, 4))
    page.value("document.getElementById('difference').click()")


def test_the_task_filter_shows_one_task(page: Page) -> None:
    choose(page, "task", 1, "change")
    assert page.value(f"{STATE}.shown") == "3"
    choose(page, "task", "all", "change")
    assert page.value(f"{STATE}.shown") == "6"


@pytest.mark.parametrize("width", [1366, 800])
def test_the_page_fits_the_width_of_the_screen(page: Page, width: int) -> None:
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=768, deviceScaleFactor=1, mobile=False)
    assert page.value("document.documentElement.scrollWidth") <= width


def test_blind_votes_are_saved_and_counted(page: Page, tmp_path: Path) -> None:
    """Vote by keys and buttons without names; the report reads the saved file and counts the votes."""
    held_out = page.value("JSON.parse(document.getElementById('blind-pairs').textContent).length")
    assert held_out == 5
    page.value("URL.createObjectURL = blob => { window.saved = blob; return '#'; }")
    page.value("document.getElementById('blind-open').click()")
    blind = "document.getElementById('blind')"
    page.wait_for(f"[...{blind}.querySelectorAll('video')].every(v => v.readyState >= 2 && !v.paused)")
    assert page.value(f"{blind}.innerText.includes('LoRA')") is False
    assert HOSTILE in page.value(f"{blind}.innerText")
    page.picture(tmp_path / "blind.png")
    for choice in ("blind-left", "blind-same", "blind-right"):
        page.value(f"document.getElementById('{choice}').click()")
    for key in ("1", "ArrowRight"):
        page.value(f"{blind}.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))")
    assert page.value(f"{blind}.dataset.voted") == "5"
    assert page.value("document.getElementById('blind-left').disabled") is True
    page.value("document.getElementById('blind-save').click()")
    ballot = json.loads(page.value("window.saved.text()"))
    assert sorted(vote["case"] for vote in ballot["votes"]) == sorted(case.name for case in content(5).cases[:5])
    assert {frozenset((vote["left"], vote["right"])) for vote in ballot["votes"]} == {frozenset(("base", "LoRA"))}
    assert [vote["choice"] for vote in ballot["votes"]] == ["left", "same", "right", "left", "right"]
    page.value("document.getElementById('blind-close').click()")

    (tmp_path / "votes.json").write_text(json.dumps(ballot))
    index = write_report(tmp_path / "report", content(5))
    rebuild_report(index.parent / "results.json", [tmp_path / "votes.json"])
    table = index.read_text().partition('id="votes"')[2].partition("</tr>")[0]
    assert table.count("of 5 votes") == 2
    assert page.value(f"{STATE}.violations") == "0"
    assert page.log == []
