"""Print the package's log messages as notes and warnings on standard error."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from worldtune.cli.terminal.output import echo

PREFIXES = {logging.INFO: "note", logging.WARNING: "warning"}


class _Echo(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        echo(f"{PREFIXES[record.levelno]}: {record.getMessage()}", err=True)


@contextmanager
def showing_log() -> Iterator[None]:
    """Print every record of the package's loggers as one line on standard error, within the block."""
    logger, handler = logging.getLogger("worldtune"), _Echo()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
