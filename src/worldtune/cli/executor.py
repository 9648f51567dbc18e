"""The choices of --executor."""

from enum import StrEnum


class Executor(StrEnum):
    """Where a verb computes: on this machine, or with the actors of a Ray cluster."""

    local = "local"
    ray = "ray"
