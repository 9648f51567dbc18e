"""Where the work of a verb is done."""

from enum import StrEnum


class Executor(StrEnum):
    """On this machine, or by the actors of a Ray cluster."""

    local = "local"
    ray = "ray"
