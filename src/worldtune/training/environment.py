"""The libraries that a run is made with, as a lock file would list them."""

from importlib.metadata import distributions
from site import getsitepackages, getusersitepackages


def installed() -> str:
    """Every library of this Python with its version, a line each, in order: what a lock file says."""
    places = [*getsitepackages(), getusersitepackages()]  # not sys.path, to which setuptools adds its own copies
    found = {f"{its.name.lower().replace('_', '-')}=={its.version}\n" for its in distributions(path=places)}
    return "".join(sorted(found))
