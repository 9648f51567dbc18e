from pathlib import Path

import numpy as np
import typer
from typer.testing import CliRunner

from worldtune.cli.report import report
from worldtune.errors import DataError
from worldtune.evaluation.cases.case import Case, video_from_frames
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.report.folder import ReportContent, write_report

app = typer.Typer()
app.command()(report)


def test_help_shows_an_example() -> None:
    answer = CliRunner().invoke(app, ["--help"])
    assert answer.exit_code == 0
    assert "worldtune report runs/demo" in answer.output


def test_report_of_a_run_is_rebuilt(tmp_path: Path) -> None:
    clip_THWC = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    cases = [Case("a", "a", "push", "top", "push it", video_from_frames(clip_THWC))]
    clips = {"base": {"a": [video_from_frames(clip_THWC)]}, "LoRA": {"a": [video_from_frames(clip_THWC)]}}
    made = ReportContent("Title", "LoRA", compare(cases, clips), cases, clips, [], {}, {}, [], "make demo", 16.0)
    index = write_report(tmp_path / "run" / "report", made)
    page = index.read_bytes()
    index.unlink()
    answer = CliRunner().invoke(app, [str(tmp_path / "run")])
    assert answer.output.strip() == str(index)
    assert index.read_bytes() == page


def test_folder_without_results_is_rejected(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(answer.exception, DataError)
    assert "no evaluation results found" in str(answer.exception)
