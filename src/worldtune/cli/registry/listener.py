"""The registry's output while it works: notes, and a progress bar while many events are verified."""

import atexit
from contextlib import ExitStack
from typing import TYPE_CHECKING

from worldtune.cli.terminal.output import WRITTEN, echo

if TYPE_CHECKING:
    from worldtune.core.progress import Progress
    from worldtune.registry.registry import Listener

MANY = 500  # events; fewer are verified too fast for a bar


def listener() -> "Listener":
    """Return a listener that prints notes to standard error, and a bar if many events are new."""
    from worldtune.registry.registry import Listener

    return Listener(lambda text: echo(f"note: {text}", err=True), Bar(), _written)


class Bar:
    """A progress bar from the first of many events to the last."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.advance: Progress | None = None
        atexit.register(self.stack.close)

    def __call__(self, done: int, total: int, note: str = "") -> None:
        from worldtune.cli.terminal.progress import progress

        if total < MANY:
            return
        if self.advance is None:
            self.advance = self.stack.enter_context(progress("verify events"))
        self.advance(done, total, note)
        if done == total:
            self.stack.close()
            self.advance = None


def _written() -> None:
    WRITTEN.set(True)
