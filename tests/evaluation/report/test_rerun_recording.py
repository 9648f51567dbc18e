"""A recording that Rerun's own tool can read, with every frame of every video."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from worldtune.errors import UserError
from worldtune.evaluation.report.rerun_recording import check_rerun_installed, write_recording

from ..clips import candidates, cases

HOSTILE = '../"><script>/x y'


def test_a_recording_has_every_case_and_candidate(tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    held_out = [replace(case, prompt=HOSTILE) for case in cases(2)]
    path = tmp_path / "recording.rrd"
    write_recording(path, "a title", held_out, candidates(held_out), 16.0)
    printed = subprocess.run(
        [sys.executable, "-m", "rerun", "rrd", "print", "-v", str(path)], capture_output=True, text=True, check=True
    ).stdout
    for column in ("reference", "base", "LoRA", "DoRA", "prompt"):
        assert column in printed
    assert subprocess.run(
        [sys.executable, "-m", "rerun", "rrd", "verify", str(path)], capture_output=True, text=True, check=True
    )


def test_without_rerun_the_error_has_an_install_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(UserError, match=r"Rerun is not installed.*worldtune\[rerun\]"):
        check_rerun_installed()
