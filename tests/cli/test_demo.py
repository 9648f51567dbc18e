"""`worldtune demo --quick` writes all its files, with the measured figures."""

import json
from pathlib import Path

import pytest

from worldtune.cli.main import run


@pytest.mark.slow
def test_quick_demo_writes_reports_contact_sheet_and_results(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert run(["demo", "--quick", "--out", str(out)]) == 0
    assert (out / "report" / "index.html").is_file()
    assert (out / "report-new-task" / "index.html").is_file()
    assert (out / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((out / "results.json").read_text())
    names = {row["name"] for row in result["figures"]}
    for wanted in ("base: PSNR", "LoRA: PSNR", "DoRA: PSNR", "time of the demo", "peak memory"):
        assert wanted in names
    for run_name in ("lora", "dora", "new-task"):
        card = json.loads((out / run_name / "adapter" / "adapter.json").read_text())
        assert card["preflight"]["zero_step_difference"] == 0
        assert card["preflight"]["wrapped_modules"] == card["preflight"]["expected_modules"] == 60
        assert card["preflight"]["trained_difference"] > 0
        assert (out / run_name / "loss.svg").is_file()
    assert not list(out.rglob("*.partial"))
    assert run(["demo", "--quick", "--out", str(out)]) == 0, "the demo can be run again"


@pytest.mark.parametrize("name", ["lora/holiday.jpg", "report/thesis.tex"])
def test_demo_removes_no_files_of_the_user(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / name
    file.parent.mkdir()
    file.write_text("mine")
    assert run(["demo", "--quick", "--out", str(tmp_path)]) == 2
    assert str(file.parent) in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
