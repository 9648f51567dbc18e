"""The Markdown summary for a pull request: it agrees with the page, and hostile text stays text."""

import re
from dataclasses import replace
from pathlib import Path

import markdown
from markdown_it import MarkdownIt

from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.report.folder import write_report
from worldtune.evaluation.report.saved_report import read_report
from worldtune.evaluation.report.summary import summary

from .test_folder import HOSTILE, content

OUR_TAGS = {"h1", "h2", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}


def made(folder: Path, **changes: object) -> str:
    text = replace(content(), **changes)  # type: ignore[arg-type]
    index = write_report(folder / "report", text)
    written = (index.parent / "summary.md").read_text()
    assert written == summary(read_report(index.parent / "results.json"))
    return written


def test_the_summary_has_verdict_gates_and_worst_clips(tmp_path: Path) -> None:
    text = made(tmp_path, notes=["X may have been trained on these clips."])
    assert "**The LoRA adapter" in text
    assert "## LoRA: checks: not enough evidence; no quality gates" in text
    assert "? not enough evidence" in text
    assert "X may have been trained on these clips." in text
    assert "| PSNR, dB (higher is better) |" in text
    assert "- LPIPS: not run: not requested" in text
    best, worst = sorted(content().comparison.rows[:2], key=lambda row: -row.gain_db("LoRA", "base"))
    table = text.partition("## Worst clips")[2]
    assert table.index(worst.name) < table.index(best.name)
    assert "base domain" not in table


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    hostile = [
        replace(case, prompt=HOSTILE + "\n# owned | `x` @everybody https://example.org", task=HOSTILE)
        for case in content().cases
    ]
    text = made(tmp_path, cases=hostile, comparison=compare(hostile, content().candidates), title=HOSTILE)
    assert "<" not in text
    assert "\n# owned" not in text
    assert r"\|" in text
    assert "@everybody" not in text
    assert "https://" not in text


def test_markdown_renderers_show_html_tags_as_text(tmp_path: Path) -> None:
    """Title, prompts, notes and the command contain tags and escapes; two Markdown renderers show them as text."""
    evil = "<script>alert(1)</script>\\<img src=x onerror=alert(2)>\x1b]0;owned\x07\u202e &#60;b&#62;"
    hostile = [replace(case, prompt=evil, task=evil) for case in content().cases]
    text = made(
        tmp_path, cases=hostile, comparison=compare(hostile, content().candidates), title=evil, notes=[evil],
        reproduce=f"worldtune evaluate '{evil}\n\n<b>'",
    )  # fmt: skip
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    for page in (MarkdownIt("commonmark", {"html": True}).enable("table").render(text), python_markdown(text)):
        tags = set(re.findall(r"<\s*/?\s*([a-zA-Z!][a-zA-Z0-9]*)", page))
        assert tags <= OUR_TAGS
        assert "alert(1)" in page


def python_markdown(text: str) -> str:
    """Render with an older Markdown library, in which a backslash before "<" does not escape it."""
    return markdown.markdown(text, extensions=["tables"])
