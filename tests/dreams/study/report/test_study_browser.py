"""The page in a real Chromium: videos play, it fits a phone, and hostile text stays text."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dreams.study.fabricated import SUCCESS, write_study
from evaluation.browser import CHROMIUM, Page, chromium
from worldtune.dreams.study.report.write import write_report
from worldtune.dreams.study.settings import StudySettings

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e'\"&"
SHOWN = HOSTILE.replace("\u202e", r"\u202e")
LOADED = "[...document.querySelectorAll('video')].every(v => v.readyState >= 2)"
PLAYING = "[...document.querySelectorAll('video')].filter(v => !v.paused).length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of two studies: one with dreams, one with a hostile task."""
    folder = tmp_path_factory.mktemp("studies")
    small = StudySettings(tasks=("plate-slide",), dreams=4, draws=1)
    write_study(folder / "small", small, {"plate-slide": SUCCESS}, {"lora": 0.75}, dreams=True)
    hostile = StudySettings(target="task", view=HOSTILE, tasks=(HOSTILE,), adapter_tasks=(HOSTILE,))
    write_study(folder / "hostile", hostile, {HOSTILE: SUCCESS}, {"lora": 0.75}, dreams=False)
    index = write_report([folder / "small", folder / "hostile"], folder / "report")
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(index.as_uri())
        opened.wait_for(LOADED)
        yield opened


def test_videos_play_until_they_are_paused(page: Page) -> None:
    count = page.value("document.querySelectorAll('video').length")
    assert count == 3 * 5
    page.wait_for(f"{PLAYING} === {count}")
    page.wait_for("document.querySelector('video').currentTime > 0")
    page.value("document.getElementById('play').click()")
    assert page.value(PLAYING) == 0
    assert page.value("document.getElementById('play').textContent") == "play the videos"
    page.value("document.getElementById('play').click()")
    page.wait_for(f"{PLAYING} === {count}")


def test_hostile_text_stays_text(page: Page) -> None:
    text = page.value("document.body.innerText")
    assert f"{SHOWN}: dreams change success by" in text
    assert "\u202e" not in page.value("document.documentElement.outerHTML")
    assert page.value("document.images.length") == 0
    assert page.value("document.scripts.length") == 1
    assert page.value("document.querySelectorAll('svg.chart').length") == 4
    assert page.value("document.documentElement.dataset.violations") == "0"
    assert page.log == []


@pytest.mark.parametrize("width", [1366, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_the_width_of_the_screen(page: Page, width: int, scheme: str, tmp_path: Path) -> None:
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=False)
    assert page.value("document.documentElement.scrollWidth") <= width
    paper, ink = (
        page.value(f"getComputedStyle(document.body).{name}.match(/\\d+/g).map(Number)[0]")
        for name in ("backgroundColor", "color")
    )
    assert (paper > ink) == (scheme == "light")
    outside = """[...document.querySelectorAll('svg.chart text')].filter(text => {
        const [box, chart] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
        return box.left < chart.left - 1 || box.right > chart.right + 1;
    }).map(text => text.textContent)"""
    assert page.value(outside) == []
    page.picture(tmp_path / f"{scheme}-{width}.png", whole=True)


def test_labels_of_arms_do_not_touch_their_values(page: Page) -> None:
    touching = """[...document.querySelectorAll('svg.chart .value')].filter(value =>
        value.previousElementSibling.getBoundingClientRect().right > value.getBoundingClientRect().left - 2
    ).map(value => value.previousElementSibling.textContent)"""
    assert page.value("document.querySelectorAll('svg.chart .value').length") == 24
    assert page.value(touching) == []
