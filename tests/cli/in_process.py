"""Run the command line in the test's own process, so that libraries are imported once."""

import re
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


def fault(in_process: Verb, *arguments: str | Path) -> str:
    """Run a verb that must fail with a user error, and return its line: what [where]. hint."""
    done = in_process(*arguments)
    assert done.code == 2, done.out + done.err
    *_, line = done.err.splitlines()
    assert re.match(r"error: .+\[.+\]\. .+[.?]$", line), line
    assert "Traceback" not in done.err
    return line


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Return a function that runs `in_process("inspect", "folder")` in an empty folder with 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str | Path) -> Done:
        capsys.readouterr()
        return Done(run([str(argument) for argument in arguments]), *capsys.readouterr())

    return call
