"""What every verb prints goes through here: text from other people's files cannot start a line or control a terminal.

A test refuses `typer.echo` and `print` elsewhere in the command line.
"""

import sys
from contextvars import ContextVar
from typing import Any

import typer

from worldtune.core.safe_text import json_text, lines_of_text, one_line

WRITTEN = ContextVar("written", default=False)  # exit code 2 would say that nothing happened


def echo(line: object = "", *, err: bool = False) -> None:
    """Print one line, made safe; a line break in `line` is shown as an escape."""
    typer.echo(one_line(line), err=err)


def echo_text(text: str, *, end: str = "\n", err: bool = False) -> None:
    """Print our own text of several lines, such as a help page, each of them made safe."""
    typer.echo(lines_of_text(text) + end, nl=False, err=err)


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """Print `value` as JSON that reads back as the same value; unsafe characters are JSON's own escapes."""
    typer.echo(json_text(value, indent=indent))


def echo_fault(message: str) -> None:
    """Print one line on stderr; a terminal that was closed is no fault of its own."""
    try:
        print(one_line(message), file=sys.stderr, flush=True)
    except OSError:
        return
