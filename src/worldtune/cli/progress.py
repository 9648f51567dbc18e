"""One progress bar for every long verb: what, how far, how fast, how long still."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from worldtune.core.safe_text import one_line


class Advance(Protocol):
    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def progress(what: str, *, shown: bool = True) -> Iterator[Advance]:
    """A bar on stderr, where it is `shown`, that the caller advances with (done, total, note)."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    console = Console(stderr=True)
    note = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # what a narrow terminal cuts
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=24 if console.width >= 100 else 6),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", markup=False, table_column=note),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=console, disable=not shown, expand=True) as bar:
        task = bar.add_task(one_line(what), total=None, note="")

        def advance(done: int, total: int, note: str = "") -> None:
            elapsed = bar.tasks[task].elapsed or 0
            rate = f"{done / elapsed:.1f}/s" if elapsed > 0 else ""
            bar.update(task, completed=done, total=total, note=one_line(f"{rate} {note}".strip()))

        yield advance
