"""The Markdown for a pull request: it says what the page says, and hostile text stays text."""

from dataclasses import replace
from pathlib import Path

from worldtune.evaluation.compare import compare
from worldtune.evaluation.report.folder import write_report
from worldtune.evaluation.report.saved_report import read_report
from worldtune.evaluation.report.summary import summary

from .test_report import HOSTILE, content


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
    assert "<script>" not in text.replace(r"\<script\>", "")
    assert "\n# owned" not in text
    assert r"\|" in text
    assert "@everybody" not in text
    assert "https://" not in text
