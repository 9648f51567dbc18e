"""A recording that Rerun's own tool reads, with every frame of every video."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from worldtune.errors import UserError
from worldtune.evaluation.report.rerun_recording import require_rerun, write_recording

from .clips import candidates, cases

HOSTILE = '../"><script>/x y'


def test_every_case_and_candidate_is_in_it(tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    judged = [replace(case, prompt=HOSTILE) for case in cases(2)]
    path = tmp_path / "recording.rrd"
    write_recording(path, "a title", judged, candidates(judged), 16.0)
    said = subprocess.run(
        [sys.executable, "-m", "rerun", "rrd", "print", "-v", str(path)], capture_output=True, text=True, check=True
    ).stdout
    for column in ("reference", "base", "LoRA", "DoRA", "prompt"):
        assert column in said
    assert subprocess.run(
        [sys.executable, "-m", "rerun", "rrd", "verify", str(path)], capture_output=True, text=True, check=True
    )


def test_without_rerun_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(UserError, match=r"Rerun is not installed.*worldtune\[rerun\]"):
        require_rerun()
