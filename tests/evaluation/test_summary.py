"""The Markdown for a pull request: it says what the page says, and hostile text stays text."""

import re
from dataclasses import replace
from pathlib import Path

import markdown
from markdown_it import MarkdownIt

from worldtune.evaluation.compare import compare
from worldtune.evaluation.report.folder import write_report
from worldtune.evaluation.report.saved_report import read_report
from worldtune.evaluation.report.summary import summary

from .test_report import HOSTILE, content

OUR_TAGS = {"h1", "h2", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}


def made(folder: Path, **changes: object) -> str:
    text = replace(content(), **changes)  # type: ignore[arg-type]
    index = write_report(folder / "report", text)
    written = (index.parent / "summary.md").read_text()
    assert written == summary(read_report(index.parent / "results.json"))
    return written


def test_it_has_the_verdict_the_gates_and_the_worst_clips(tmp_path: Path) -> None:
    text = made(tmp_path, notes=["It is not known what X was trained on."])
    assert "**The LoRA adapter" in text
    assert "## Gates: LoRA, not enough evidence" in text
    assert "? not enough evidence" in text
    assert "It is not known what X was trained on." in text
    assert "| PSNR, dB (higher is better) |" in text
    assert "- LPIPS: not run: not asked for" in text
    best, worst = sorted(content().comparison.rows[:2], key=lambda row: -row.gain_db("LoRA", "base"))
    table = text.partition("## Worst clips")[2]
    assert table.index(worst.name) < table.index(best.name)
    assert "base domain" not in table


def test_hostile_text_is_no_mark(tmp_path: Path) -> None:
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


def test_a_reader_that_renders_html_finds_no_tag(tmp_path: Path) -> None:
    """Title, prompts, notes and the command hold tags and escapes; two Markdown readers show them as text."""
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
    """What an older Markdown reader makes of it; to it a backslash before "<" is no escape."""
    return markdown.markdown(text, extensions=["tables"])
