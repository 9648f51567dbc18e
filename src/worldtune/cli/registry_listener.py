"""What a registry tells a user meanwhile: notes, and a bar while many events are verified."""

import atexit
from contextlib import ExitStack
from typing import TYPE_CHECKING

from worldtune.cli.output import WRITTEN, echo

if TYPE_CHECKING:
    from worldtune.cli.progress import Advance
    from worldtune.registry.registry import Listener

MANY = 500  # events; fewer are verified before a bar is seen


def listener() -> "Listener":
    """Notes go to standard error; the bar is there once more than a few events are new."""
    from worldtune.registry.registry import Listener

    return Listener(lambda text: echo(f"note: {text}", err=True), Bar(), _written)


class Bar:
    """A progress bar that begins with the first event of many, and ends with the last."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.advance: Advance | None = None
        atexit.register(self.stack.close)

    def __call__(self, done: int, total: int) -> None:
        from worldtune.cli.progress import progress

        if total < MANY:
            return
        if self.advance is None:
            self.advance = self.stack.enter_context(progress("verify events"))
        self.advance(done, total)
        if done == total:
            self.stack.close()
            self.advance = None


def _written() -> None:
    WRITTEN.set(True)
