"""The command line in the test's own process: libraries are imported once."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from worldtune.cli.main import run


class Done(NamedTuple):
    code: int
    out: str
    err: str


Verb = Callable[..., Done]


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    """`in_process("inspect", "folder")` in an empty folder, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str | Path) -> Done:
        capsys.readouterr()
        return Done(run([str(argument) for argument in arguments]), *capsys.readouterr())

    return call
