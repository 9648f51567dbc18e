"""Progress bars, one for each stage of a long verb: name, progress, rate, remaining time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from worldtune.cli.terminal.output import echo
from worldtune.cli.terminal.signals import raise_if_stopped
from worldtune.core.progress import Progress, split_note
from worldtune.core.safe_text import one_line


class Bars:
    """A Progress with one bar on stderr, if `shown`, for each stage that the notes name.

    Each call raises Stopped after a signal.
    """

    def __init__(self, *, shown: bool = True) -> None:
        self._shown = shown
        self._stage: str | None = None
        self._advance: Progress = _no_bar
        self._bar = ExitStack()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        raise_if_stopped()
        stage, rest = split_note(note)
        if stage != self._stage:
            self.close()
            self._stage, self._advance = stage, self._bar.enter_context(progress(stage, shown=self._shown))
        if total:
            self._advance(done, total, rest)

    def close(self) -> None:
        """End the last bar and leave it on the screen."""
        self._stage = None
        self._bar.close()


@contextmanager
def bars(*, shown: bool = True) -> Iterator[Bars]:
    """Open the bars of a verb; the last bar ends with the block."""
    opened = Bars(shown=shown)
    try:
        yield opened
    finally:
        opened.close()


def _no_bar(done: int, total: int, note: str = "") -> None:
    raise_if_stopped()


@contextmanager
def progress(what: str, *, shown: bool = True) -> Iterator[Progress]:
    """Show a bar on stderr, if `shown`, and yield the function (done, total, note) that advances it.

    If stderr is not a terminal, one line names what begins. Advancing raises Stopped after a signal.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as Columns,
    )
    from rich.table import Column

    console = Console(stderr=True)
    if shown and not console.is_terminal:
        echo(f"{one_line(what)} …", err=True)
    note = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # a narrow terminal cuts this column
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=24 if console.width >= 100 else 6),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", markup=False, table_column=note),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    with Columns(*columns, console=console, disable=not shown, expand=True) as bar:
        task = bar.add_task(one_line(what), total=None, note="")

        def advance(done: int, total: int, note: str = "") -> None:
            raise_if_stopped()
            elapsed = bar.tasks[task].elapsed or 0
            rate = f"{done / elapsed:.1f}/s" if elapsed > 0 else ""
            bar.update(task, completed=done, total=total, note=one_line(f"{rate} {note}".strip()))

        yield advance
