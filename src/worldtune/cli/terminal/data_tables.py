"""The tables that `inspect` and `check` print, readable at 80 columns."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from worldtune.core.safe_text import one_line
from worldtune.data.episode import Problem
from worldtune.data.ledger import Ledger
from worldtune.data.splits.leakage import SameFootage

SHOWN = 12  # rows of a long list; --json has them all


def open_console() -> Console:
    """Return a console that prints task texts unchanged, including brackets."""
    return Console(markup=False, emoji=False, highlight=False)


def print_line(console: Console, line: str, *, gap: bool = False) -> None:
    """Print one safe line, wrapped at words, and with `gap` an empty line after it."""
    console.print(one_line(line), end="\n\n" if gap else "\n")


def print_table(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print the first `SHOWN` rows; a column whose name ends in "#" (not printed) contains numbers."""
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
    """Print each problem once, with the places where it occurs."""
    if problems:
        groups: dict[tuple[str, str], list[Problem]] = {}
        for problem in problems:
            groups.setdefault((problem.level, problem.what.split(" (")[0]), []).append(problem)
        rows = [(level, _places(group), group[0].what) for (level, _), group in groups.items()]
        print_table(console, f"Problems ({len(rows)})", ("level", "where", "what"), rows)
    else:
        print_line(console, "No contradictions between metadata, files and frames.", gap=True)


def _places(problems: Sequence[Problem]) -> str:
    places = list(dict.fromkeys(problem.where for problem in problems))
    return ", ".join(places[:2]) + (f", … {len(places)} in all" if len(places) > 2 else "")


def print_notes(console: Console, ledger: Ledger) -> None:
    """Print the remarks about clips that are used, such as a change of speed."""
    rows = [(count, note) for note, count in ledger.notes().items()]
    if rows:
        print_table(console, "Used, but", ("rows#", "remark"), rows)


def print_same_footage(console: Console, same: Sequence[SameFootage]) -> None:
    """Print every pair of recordings with the same footage, and what is done about it."""
    if same:
        print_line(console, f"Same footage ({len(same)} pairs; --page shows them)")
        for pair in same:
            print_line(console, f"  {pair.first}, {pair.second}: {pair.outcome}; they {pair.description}")
        console.print()


def print_lost(console: Console, ledger: Ledger) -> None:
    """Print each reason for unused rows, with the number of rows and the episodes."""
    rows = []
    for reason, count in ledger.reasons().items():
        episodes = list(dict.fromkeys(row.episode for row in ledger.rows if row.reason.split(" (")[0] == reason))
        more = f", … {len(episodes)} in all" if len(episodes) > 3 else ""
        rows.append((count, reason, ", ".join(episodes[:3]) + more))
    if rows:
        print_table(console, "Not used", ("rows#", "reason", "episodes"), rows)
