"""Print safely: text from other people's files cannot start a new line or control the terminal.

Every verb prints with these functions; a test forbids `typer.echo` and `print` elsewhere in the command line.
"""

import os
import sys
from contextvars import ContextVar
from typing import Any

import typer

from worldtune.core.safe_text import json_text, one_line, safe_lines

WRITTEN = ContextVar(
    "written", default=False
)  # whether the registry was written to; exit code 2 means that nothing happened


def echo(line: object = "", *, err: bool = False, red: bool = False) -> None:
    """Print one safe line; a line break in `line` is printed as an escape.

    `red` has an effect only on a terminal, and not if NO_COLOR is set (no-color.org).
    """
    text = one_line(line)
    typer.echo(typer.style(text, fg="red") if red and not os.environ.get("NO_COLOR") else text, err=err)


def say_first(line: str) -> None:
    """Print the first step of a long verb on stderr before its libraries load; only the process of rank 0 prints."""
    if os.environ.get("RANK", "0") == "0":
        echo(f"{line} …", err=True)


def echo_text(text: str, *, end: str = "\n", err: bool = False) -> None:
    """Print our own text of several lines, such as a help page; each line is made safe."""
    typer.echo(safe_lines(text) + end, nl=False, err=err)


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """Print `value` as JSON that parses to the same value; unsafe characters become JSON escapes."""
    typer.echo(json_text(value, indent=indent))


def echo_fault(message: str) -> None:
    """Print one line on stderr; ignore that the terminal was closed."""
    try:
        print(one_line(message), file=sys.stderr, flush=True)
    except OSError:
        return
