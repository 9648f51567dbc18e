"""The libraries that a run is made with, as a lock file would list them."""

from importlib.metadata import distributions


def installed() -> str:
    """Every library of this Python with its version, a line each, in order: what a lock file says."""
    found = {f"{its.name.lower().replace('_', '-')}=={its.version}\n" for its in distributions()}
    return "".join(sorted(found))
