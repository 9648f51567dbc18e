"""The page of a dataset with known faults, in a real Chromium: a part per reason, and hostile text stays text."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from evaluation.browser import CHROMIUM, Page, chromium
from worldtune.data.dataset import Dataset, build_dataset
from worldtune.data.inspection.curation_page import CLIPS_PER_SECTION, WORST, write_curation_page
from worldtune.data.spec import DataSpec
from worldtune.data.video.decode import write_video
from worldtune.errors import UserError

from ...cli.in_process import Verb, in_process
from ..scenes import scene, still
from ..videos import truncate

__all__ = ["in_process"]

HOSTILE = "<script>document.title='hit'<" + "/script>"
NAME = "<img src=x onerror=document.title='hit'>"
REASONS = {"static", "black", "frozen tail", "the video is cut short", "caption missing", "shorter than the window"}


def plant(root: Path) -> Path:
    """Write nine good videos, one with a hostile name, and one video of each fault."""
    good = {f"good{number}": scene(16, number) for number in range(6)} | {NAME: scene(16, 8)}
    good |= {f"late{wait}": np.concatenate([still(wait, wait), scene(16 - wait, wait)]) for wait in (6, 8)}
    bad = {
        "static": still(16),
        "black": np.clip(scene(16, 20) // 40, 0, 255),
        "frozen": np.concatenate([scene(6, 21), scene(6, 21)[-1:].repeat(10, 0)]),
        "cut": scene(16, 22),
        "mute": scene(16, 23),
        "short": scene(9, 24),
    }
    (root / "videos").mkdir(parents=True)
    for name, frames_THWC in (good | bad).items():
        write_video(root / f"videos/{name}.mp4", frames_THWC.astype(np.uint8), 16)
    truncate(root / "videos/cut.mp4")
    cells = "".join(f'{name},"{HOSTILE}","{HOSTILE} & more"\n' for name in good | bad if name != "mute")
    (root / "metadata.csv").write_text(f"video,task,prompt\n{cells}")
    return root


@dataclass(frozen=True)
class Made:
    spec: DataSpec
    dataset: Dataset
    page: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("planted")
    root = plant(folder / "<b>d<script>")
    spec = DataSpec(path=str(root), frames=16, fps=16, height=48, width=64)
    dataset = build_dataset(spec)
    write_curation_page(folder / "page.html", spec, dataset)
    return Made(spec, dataset, folder / "page.html")


def test_every_reason_has_a_section(made: Made) -> None:
    assert set(made.dataset.ledger.reasons()) == REASONS
    text = made.page.read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles == ["Not used", *made.dataset.ledger.reasons(), *(f"Used: {title}" for title in WORST)]
    for number, reason in enumerate(made.dataset.ledger.reasons()):
        assert f'<a href="#lost{number}">{reason}</a>' in text
        (part,) = re.findall(rf'<section id="lost{number}".*?</section>', text, re.DOTALL)
        (row,) = (row for row in made.dataset.ledger.rows if row.reason.startswith(reason))
        assert f"{row.episode}/video/0" in part
        assert html.escape(row.reason, quote=False) in html.unescape(part)
        assert ("<img src" in part) == (reason in ("static", "black", "frozen tail"))
    assert "9 clips are used, 6 rows are not" in text
    assert "<b>Not usable:</b> 6 of 15 recordings give no clip" in text


def test_worst_used_clips_come_first(made: Made) -> None:
    text = made.page.read_text(encoding="utf-8")
    kept = [row for row in made.dataset.ledger.rows if row.kept]
    for title, score, turned in (
        ("least motion", "motion", False),
        ("longest stills", "still", True),
        ("least sharp", "sharpness", False),
        ("darkest", "brightness", False),
    ):
        (part,) = re.findall(rf"<h2>Used: {title}</h2>.*?</section>", text, re.DOTALL)
        shown = [html.unescape(name) for name in re.findall(r"<b>(.*?)</b>", part)]
        worst = sorted(kept, key=attrgetter(score), reverse=turned)[:CLIPS_PER_SECTION]
        assert shown == [f"{row.episode}/video/0" for row in worst]
        assert len({getattr(row, score) for row in kept}) >= 3


def test_page_of_good_data_reports_no_fault(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    write_video(tmp_path / "d/a.mp4", scene(16, 0), 16)
    spec = DataSpec(path=str(tmp_path / "d"), frames=16, fps=16, height=480, width=2, caption="a robot")
    write_curation_page(tmp_path / "page.html", spec, build_dataset(spec))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Everything is used." in text
    assert "Unusable" not in text


def test_unwritable_page_is_a_one_line_error(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot create the folder"):
        write_curation_page(tmp_path / "file/page.html", made.spec, made.dataset)


def test_check_writes_the_page(in_process: Verb, tmp_path: Path, made: Made) -> None:
    size = ("--frames", "16", "--height", "48", "--width", "64")
    done = in_process("check", made.spec.path, *size, "--page", "out/page.html")
    assert done.code == 2, done.err
    assert (tmp_path / "out/page.html").read_bytes() == made.page.read_bytes()


@pytest.fixture(scope="module")
def page(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(made.page.as_uri())
        yield opened


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_images_load_and_text_is_escaped_in_a_browser(made: Made, page: Page) -> None:
    assert page.log == []
    assert page.value("document.title").startswith(made.spec.path)
    assert page.value("document.querySelectorAll('script, main img:not([src^=\"data:image/jpeg\"])').length") == 0
    assert page.value("document.querySelector('h1').innerText") == made.spec.path
    sizes = "[...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight])"
    shown = 3 + CLIPS_PER_SECTION * len(WORST)
    assert page.value(sizes) == [[True, 6 * 128, 96]] * shown
    text = page.value("document.body.innerText")
    assert text.count(f"{NAME}/video/0") == 2
    assert HOSTILE in text


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_page_works_in_a_browser_at_phone_width(made: Made, page: Page) -> None:
    page.open(made.page.as_uri(), width=360, height=640)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    for reason in made.dataset.ledger.reasons():
        link = f"[...document.querySelectorAll('a')].find(a => a.innerText === {reason!r})"
        page.value(f"{link}.click()")
        assert page.value("document.querySelector(':target h2').innerText") == reason
    assert page.value("getComputedStyle(document.querySelector('section.lost')).borderTopWidth") == "4px"
    assert page.log == []
