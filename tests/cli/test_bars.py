"""The progress bars of the stages, and the package's log, on the command line."""

import logging

import pytest

from worldtune.cli.terminal.log import showing_log
from worldtune.cli.terminal.progress import bars
from worldtune.core.progress import stage


def test_each_stage_has_its_own_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with bars() as shown:
        encode = stage(shown, "encode")
        encode(1, 2)
        encode(2, 2)
        stage(shown, "train mine")(5, 9, "loss 0.4")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ━")[0] for line in lines] == ["encode …", "encode", "train mine …", "train mine"]
    assert "2/2" in lines[1]
    assert "5/9" in lines[3]
    assert "loss 0.4" in lines[3]


def test_hidden_bars_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with bars(shown=False) as hidden:
        stage(hidden, "encode")(1, 2)
    assert capsys.readouterr() == ("", "")


def test_log_messages_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("worldtune.somewhere")
    with showing_log():
        logger.info("%s is %s", "a@production", "a@1")
        logger.warning("guardrails are off\nforged")
    logger.info("nobody hears")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "note: a@production is a@1\nwarning: guardrails are off\\nforged\n"
