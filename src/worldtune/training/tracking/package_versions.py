"""The installed packages of this Python, as a lock file lists them."""

from functools import cache
from importlib.metadata import distributions
from site import getsitepackages, getusersitepackages


@cache
def installed_packages() -> str:
    """Return every installed package with its version, one per line, sorted."""
    places = [*getsitepackages(), getusersitepackages()]  # not sys.path, to which setuptools adds its own copies
    lines = {f"{dist.name.lower().replace('_', '-')}=={dist.version}\n" for dist in distributions(path=places)}
    return "".join(sorted(lines))
