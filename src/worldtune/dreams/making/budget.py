"""The planned work of a dream set: how many dreams, how long they take, and how much disk they need."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from worldtune.errors import UserError

MARGIN = 1.1  # of the measured bytes of a dream


@dataclass(frozen=True)
class Budget:
    """The planned dreams: `count` of `total` combinations, of which `done` are complete.

    `seconds` and `bytes` are those of one dream, None before the first dreams; `workers` make dreams at once.
    """

    count: int
    total: int
    done: int
    outcomes: dict[str, int]
    workers: int = 1
    seconds: float | None = None
    bytes: float | None = None

    @property
    def remaining_seconds(self) -> float | None:
        """The planned seconds until all dreams are made."""
        return None if self.seconds is None else self.seconds * (self.count - self.done) / self.workers

    @property
    def remaining_bytes(self) -> float | None:
        """The planned bytes of the dreams that are left."""
        return None if self.bytes is None else self.bytes * (self.count - self.done) * MARGIN

    def __str__(self) -> str:
        of = f" of {self.total} combinations" if self.count < self.total else ""
        kinds = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        text = f"{self.count} dreams{of} ({kinds})"
        text += f", {self.done} already made" if self.done else ""
        if self.remaining_seconds is not None and self.remaining_bytes is not None:
            text += f"; about {_duration(self.remaining_seconds)} and {self.remaining_bytes / 2**20:.0f} MiB to go"
        return text


OnBudget = Callable[[Budget], None]


def measured(budget: Budget, done: int, seconds: float, files: list[Path]) -> Budget:
    """Return the budget after the first dreams, which took `seconds` each and wrote `files`."""
    size = sum(file.stat().st_size for file in files)
    return replace(budget, done=done, seconds=seconds, bytes=size / max(len(files) // 2, 1))


def check_disk(budget: Budget, folder: Path) -> None:
    """Raise UserError if the dreams that are left do not fit on the disk."""
    free = shutil.disk_usage(folder).free
    if budget.remaining_bytes is not None and budget.remaining_bytes > free:
        what = f"{budget.count - budget.done} dreams need about {budget.remaining_bytes / 2**20:.0f} MiB; "
        what += f"{free / 2**20:.0f} MiB are free"
        raise UserError(what, where=str(folder), hint="Free disk space, or lower max_dreams; then resume.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
