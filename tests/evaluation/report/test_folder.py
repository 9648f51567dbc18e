import json
import re
import shutil
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from worldtune.errors import DataError, UserError
from worldtune.evaluation.cases.case import BASE_DOMAIN
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.report.folder import ReportContent, find_results, rebuild_report, write_report

from ..clips import candidates, cases

HOSTILE = '"><script>document.title="owned"</script><img src=x onerror=alert(1)>'


@cache
def content(count: int = 2) -> ReportContent:
    judged = [*cases(count), *cases(1, BASE_DOMAIN, first=30)]
    clips = candidates(judged)
    return ReportContent(
        title="Pocket to a new camera",
        verdict_subject="LoRA",
        comparison=compare(judged, clips),
        cases=judged,
        candidates=clips,
        figures=[
            {"name": "gain", "value": 3.0, "unit": "dB", "goal": 2.5, "better": "higher", "reached": True},
            {"name": "loss ratio", "value": 0.5, "unit": "×", "goal": 0.2, "better": "lower", "reached": False},
            {"name": "memory", "value": None, "unit": "GB", "goal": 3, "better": "lower", "reached": None, "why": "no"},
        ],
        curves={"LoRA": [{"step": k, "loss": 1 / (1 + k), "held_out_loss": 0.5, "lr": 1e-3} for k in range(5)]},
        lineage={"base": {"name": "pocket", "digest": "ab" * 32}, "seed": 0},
        retention=[{"candidate": "LoRA", "loss": 0.05, "within_goal": True}],
        reproduce="make demo",
        fps=16.0,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("run") / "report", content()).parent


def test_the_folder_has_page_results_and_videos(built: Path) -> None:
    assert sorted(path.name for path in built.iterdir()) == [
        "contact_sheet.png", "index.html", "results.json", "scores.parquet", "summary.md", "videos",
    ]  # fmt: skip
    assert len(list((built / "videos").glob("*.mp4"))) == 3 * 4
    results = json.loads((built / "results.json").read_text())
    assert results["verdict"].startswith("The LoRA adapter")
    assert [figure["name"] for figure in results["figures"]] == ["gain", "loss ratio", "memory"]
    assert results["curves"]["LoRA"][0] == {"step": 0, "loss": 1.0, "held_out_loss": 0.5}


def test_the_page_shows_goals_lineage_and_charts(built: Path) -> None:
    page = (built / "index.html").read_text()
    for text in ("1 of 3 goals reached, 1 missed, 1 not measured", "make demo", "ab" * 32, "✗ missed", "base domain"):
        assert text in page
    assert page.count("data-src=") == 3 * 4 + 3
    assert page.count("<svg") == 5


def test_the_page_loads_nothing_from_outside_its_folder(built: Path) -> None:
    page = (built / "index.html").read_text()
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    assert not re.search(r'(src|href)="(?!videos/|#|data:,")', page)
    assert " style=" not in page


def test_only_the_first_rows_load_videos_at_once(built: Path, tmp_path: Path) -> None:
    page = write_report(tmp_path / "report", content(5)).read_text()
    rows = page.split('<article class="row"')[1:]
    assert [' src="videos/' in row for row in rows] == [True, True, True, False, False, False]


def test_rows_come_worst_first(built: Path) -> None:
    page = (built / "index.html").read_text()
    made = content()
    gains = {row.name: row.gain_db("LoRA", "base") for row in made.comparison.rows}
    shown = re.findall(r'<p class="soft">(\d{6}/scene/0)<br>', page)
    headline = [name for name in shown if not name.startswith("000030")]
    assert headline == sorted(headline, key=gains.__getitem__)
    assert shown[-1].startswith("000030")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.seen += [name for name, _ in attrs if name.startswith("on")]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    judged = [replace(c, name=HOSTILE + c.name, prompt=HOSTILE, task=HOSTILE, camera=HOSTILE) for c in cases(2)]
    good = candidates(cases(2))
    clips = {name: {HOSTILE + case: clip for case, clip in videos.items()} for name, videos in good.items()}
    clips[HOSTILE] = clips.pop("LoRA")
    hostile = replace(
        content(),
        title=HOSTILE,
        verdict_subject=HOSTILE,
        comparison=compare(judged, clips),
        cases=judged,
        candidates=clips,
        figures=[{"name": HOSTILE, "value": 1, "unit": HOSTILE, "goal": 1, "better": "lower", "reached": True}],
        curves={HOSTILE: [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]},
        lineage={HOSTILE: HOSTILE},
        retention=[{HOSTILE: HOSTILE}],
        reproduce=HOSTILE,
    )
    page = write_report(tmp_path / "report", hostile).read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.seen.count("script") == 2, "the page's own script, and its JSON data"
    assert not {"img", "onerror"} & set(tags.seen)
    assert {path.parent.name for path in (tmp_path / "report").rglob("*.mp4")} == {"videos"}


def test_rebuilding_gives_the_same_page(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run" / "report"
    shutil.copytree(built, copy)
    (copy / "index.html").unlink()
    assert rebuild_report(find_results(tmp_path / "run")).read_bytes() == (built / "index.html").read_bytes()


def test_invalid_results_are_errors(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "report"
    shutil.copytree(built, copy)
    results = copy / "results.json"
    good = json.loads(results.read_text())
    case = next(iter(good["videos"]))
    video = copy / good["videos"][case]["base"]
    video.rename(video.with_suffix(".away"))
    with pytest.raises(DataError, match=r"0000-1\.mp4 is missing"):
        rebuild_report(results)
    for change, fault in (
        ({"verdict_subject": "GoRA"}, "'GoRA' was not compared"),
        ({"columns": ["reference", "base"]}, "columns"),
        ({"curves": {"LoRA": [{"step": 1, "loss": float("inf")}]}}, "Infinity is not a number"),
        ({"videos": {**good["videos"], case: {**good["videos"][case], "base": "../../secret.mp4"}}}, "outside"),
        ({"videos": {}}, "not those of the compared clips"),
        ({"format": "worldtune report 9"}, "format"),
        ({"surprise": 1}, "surprise"),
    ):
        results.write_text(json.dumps({**good, **change}))
        with pytest.raises(DataError, match=fault):
            rebuild_report(results)
    results.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        rebuild_report(results)
    with pytest.raises(DataError, match="no evaluation results"):
        find_results(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"reached": False}, "contradict"),
        ({"value": None}, "no value and no reason"),
        ({"value": float("nan")}, "finite"),
        ({"better": "bigger"}, "better is"),
        ({"golas": 1}, "golas"),
    ],
)
def test_an_inconsistent_figure_is_an_error(tmp_path: Path, change: dict[str, object], fault: str) -> None:
    made = content()
    with pytest.raises(UserError, match=fault):
        write_report(tmp_path / "report", replace(made, figures=[{**made.figures[0], **change}]))
    assert list(tmp_path.iterdir()) == []


def test_invalid_content_or_a_foreign_folder_is_an_error(tmp_path: Path) -> None:
    made = content()
    with pytest.raises(UserError, match="was not compared"):
        write_report(tmp_path / "report", replace(made, verdict_subject="GoRA"))
    with pytest.raises(UserError, match="not those of the comparison"):
        write_report(tmp_path / "report", replace(made, cases=made.cases[:1]))
    (tmp_path / "thesis.txt").write_text("precious")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match="something other than a report"):
        write_report(tmp_path, made)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
