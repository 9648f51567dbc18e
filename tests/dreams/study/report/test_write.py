"""The report of fabricated studies: its numbers, its videos, and its limits."""

import html
import re
from pathlib import Path
from typing import Any

import pytest

from dreams.study.fabricated import SUCCESS, write_study
from worldtune.dreams.study.report.write import write_report
from worldtune.dreams.study.settings import StudySettings
from worldtune.errors import UserError

TASK = "plate-slide"
FULL: dict[str, Any] = {"tasks": ("plate-slide", "button-press"), "dreams": 4, "draws": 3}
BUTTON: dict[Any, float] = {"real": 0.9, "oracle": 1.0}
SMALL: dict[str, Any] = {
    "tasks": (TASK,), "dreams": 4, "draws": 1, "policy_seeds": 1, "resets": 10, "min_room": 0.0,
    "arms": ("real", "lora", "shuffled", "oracle"),
}  # fmt: skip
REPLAY = {"video-idm": 0.9, "codec-idm": 0.85, "lora": 0.75}


def page_text(index: Path) -> str:
    """Return the page's text, with single spaces."""
    body = index.read_text(encoding="utf-8").partition("<body>")[2].partition("<script>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two tasks: dreams help in one, the other has no room. Do not write into it."""
    path = tmp_path_factory.mktemp("studies") / "full"
    write_study(path, StudySettings(**FULL), {TASK: SUCCESS, "button-press": BUTTON}, REPLAY, dreams=True)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that is too small. Do not write into it."""
    path = tmp_path_factory.mktemp("studies") / "small"
    write_study(path, StudySettings(target="known", view="left", **SMALL), {TASK: SUCCESS}, REPLAY, dreams=True)
    return path


@pytest.fixture(scope="module")
def text(full: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_text(write_report([full], tmp_path_factory.mktemp("page") / "report"))


def test_verdicts_come_first(text: str) -> None:
    beginning, _, _ = text.partition("Success by what")
    assert "plate-slide: dreams change success by +30 points [" in beginning
    assert "button-press: no room: real demonstrations reach 90%, true clips 100%." in beginning
    assert "Too small" not in text


def test_success_and_differences_have_intervals(text: str) -> None:
    assert re.search(r"5 real \+ dreams of the LoRA 80% \[\d+, \d+\] 5 4 6", text)
    assert re.search(r"5 real \+ true clips, true labels 100% \[100, 100\] 5 4 6", text)
    assert re.search(r"20 real 90% \[\d+, \d+\] 5 0 6", text)
    lora = r"5 real \+ dreams of the LoRA"
    assert re.search(rf"{lora} 5 real \+30 points \[\d+, \d+\] draws, seeds and resets", text)
    assert re.search(rf"{lora} 5 real \+ true clips, true labels −20 points \[−\d+, −\d+\]", text)
    assert "80% of the success with true clips" in text


def test_stages_name_the_largest_loss(text: str) -> None:
    assert re.search(r"Most success is lost here: dreams of the LoRA instead of true clips \(−10 points", text)
    assert "true labels 100% IDM labels of the true clips 90%" in text


def test_figures_are_measured_in_millimeters(text: str) -> None:
    """The labels of layout n end 12 + n mm too far: 13.5 mm on average."""
    row = re.search(r"dreams of the LoRA 0\.93 (\d+) (\d+) (0\.\d+) ✓ at most 0\.6", text)
    assert row is not None, text
    assert (int(row[1]), float(row[3])) == (14, pytest.approx(13.5 / float(row[2]), abs=0.02))
    assert "✗ above 0.6" in text, "the base's dreams are 61.5 mm off"


def test_critics_and_worth(text: str) -> None:
    assert "plate-slide dreams of the LoRA 12 9 path 3 6 of 120 real training clips" in text
    assert "about 14.1 real demonstrations" in text
    assert "worth about 9.1 demonstrations" in text
    assert re.search(r"3 min to train the LoRA and the IDM, once for 8 tasks, and 10 s to make 4 dreams", text)
    assert "The critics reject 25% of the dreams." in text
    assert "0.83% of the dreams rejected" in text
    assert "0.87 GPU-hours and 0.38 GiB for 48 dreams of 93 frames" in text


def test_rows_show_the_extreme_and_median_errors(full: Path, tmp_path: Path) -> None:
    index = write_report([full], tmp_path / "report")
    page = index.read_text(encoding="utf-8")
    for row in ("smallest error", "median error", "largest error"):
        assert page.count(f"{TASK}: the {row}") == 1
    films = re.findall(r'<video[^>]* src="([^"]+)"', page)
    assert len(films) == 2 * 3 * 5
    assert all((index.parent / film).stat().st_size > 500 for film in films)
    shown = re.findall(r"<figcaption>dream of the LoRA <b>(\d+)\u00a0mm", page)
    assert shown == ["12", "13", "15"] * 2


def test_small_study_says_that_it_proves_nothing(small: Path, tmp_path: Path) -> None:
    text = page_text(write_report([small], tmp_path / "report"))
    assert (
        "Too small to prove anything: 1 draw of demonstrations instead of at least 3, 1 policy seed instead of at "
        "least 2 and 10 resets instead of at least 30." in text
    )
    assert "The intervals do not cover draws and seeds" in text
    assert "Success over real demonstrations" not in text, "no arm has more demonstrations"


def test_several_studies_become_one_page(full: Path, small: Path, tmp_path: Path) -> None:
    index = write_report([full, small], tmp_path / "report")
    text = page_text(index)
    assert text.index("New camera (top)") < text.index("Known camera (left)") < text.index("Success by what")
    assert text.count("Success by what") == 2
    assert len(list((index.parent / "videos").iterdir())) == 2


def test_study_without_room_has_no_dreams(tmp_path: Path) -> None:
    settings = StudySettings(tasks=(TASK,), dreams=4, arms=("real", "oracle"))
    content = write_study(tmp_path / "study", settings, {TASK: BUTTON}, {}, dreams=False)
    assert (content["forecast"], content["figures"], content["critics"]) == (None, [], [])
    text = page_text(write_report([tmp_path / "study"], tmp_path / "study" / "report"))
    assert "No dreams were made." in text
    assert "No dreams were tested in a policy." in text


def test_missing_and_damaged_results_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the study has no results"):
        write_report([tmp_path], tmp_path / "report")
    (tmp_path / "results.json").write_text('{"verdict": 1}')
    with pytest.raises(UserError, match=r"the key .* is missing"):
        write_report([tmp_path], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_another_folder_is_not_replaced(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="something other than the report"):
        write_report([small], tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
