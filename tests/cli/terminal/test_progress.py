"""A long verb prints its first step before its libraries load."""

import subprocess
import sys
from pathlib import Path

import pytest

from worldtune.cli.terminal.progress import progress

HEAVY = ("diffusers", "transformers", "peft")
VERBS = {
    "train": ["train", "pocket-new-view", "--out", "run"],
    "evaluate": ["evaluate", "."],
    "generate": ["generate", "--prompt", "the robot waits"],
    "encode": ["encode", "pocket-new-view"],
    "demo": ["demo", "--quick"],
    "plan": ["plan", "pocket"],
    "caption": ["caption", ".", "--local", "--model", "none", "--out", "captions.yaml"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_long_verb_prints_before_its_libraries_load(verb: str, tmp_path: Path) -> None:
    script = f"""
import sys
from worldtune.cli.terminal import output
def first(line):
    print(line, [name for name in {HEAVY} if name in sys.modules], flush=True)
    sys.exit()
output.say_first = first
from worldtune.cli.main import run
run({VERBS[verb]})
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"{verb}: "), done.stderr
    assert done.stdout.endswith(" []\n")


def test_without_a_terminal_one_line_names_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("decode") as advance:
        assert capsys.readouterr().err == "decode …\n"
        advance(1, 2)
    with progress("quiet", shown=False):
        assert capsys.readouterr().err.count("quiet") == 0


def test_only_rank_0_prints_the_first_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from worldtune.cli.terminal.output import say_first

    say_first("train: opening pocket")
    monkeypatch.setenv("RANK", "1")
    say_first("train: opening pocket")
    assert capsys.readouterr().err == "train: opening pocket …\n"
