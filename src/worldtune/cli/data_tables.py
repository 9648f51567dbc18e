"""What `inspect` and `check` print: tables that stay readable at 80 columns."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from worldtune.core.safe_text import one_line
from worldtune.episodes.episode import Problem
from worldtune.episodes.ledger import Ledger

SHOWN = 12  # rows of a long list; --json has them all


def open_console() -> Console:
    """A console that prints task texts as they are, brackets and all."""
    return Console(markup=False, emoji=False, highlight=False)


def print_line(console: Console, line: str, *, gap: bool = False) -> None:
    """Print one line, wrapped at words and made safe, and an empty one after it where there is to be a `gap`."""
    console.print(one_line(line), end="\n\n" if gap else "\n")


def print_table(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The first `SHOWN` rows; a column whose name ends in "#" (not printed) is of numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        number = name.endswith("#")
        table.add_column(name.rstrip("#"), justify="right" if number else "left", no_wrap=number, overflow="fold")
    rows = list(rows)
    for row in rows[:SHOWN]:
        table.add_row(*(one_line(cell) for cell in row))
    console.print(table)
    if len(rows) > SHOWN:
        print_line(console, f"… and {len(rows) - SHOWN} more; --json lists all", gap=True)


def print_problems(console: Console, problems: Sequence[Problem]) -> None:
    if problems:
        rows = [(problem.level, problem.where, problem.what) for problem in problems]
        print_table(console, f"Problems ({len(problems)})", ("level", "where", "what"), rows)
    else:
        print_line(console, "No contradictions between metadata, files and frames.", gap=True)


def print_notes(console: Console, ledger: Ledger) -> None:
    """What is remarkable about clips that are used, as that their speed was changed."""
    rows = [(count, note) for note, count in ledger.notes().items()]
    if rows:
        print_table(console, "Used, but", ("rows#", "remark"), rows)


def print_lost(console: Console, ledger: Ledger) -> None:
    """Each reason with how many rows it cost and the episodes it struck."""
    rows = []
    for reason, count in ledger.reasons().items():
        struck = list(dict.fromkeys(row.episode for row in ledger.rows if row.reason.split(" (")[0] == reason))
        more = f", … {len(struck)} in all" if len(struck) > 3 else ""
        rows.append((count, reason, ", ".join(struck[:3]) + more))
    if rows:
        print_table(console, "Not used", ("rows#", "reason", "episodes"), rows)
