"""Members of an HDF5 file by name; links to other files are errors, because the file's digest does not cover those."""

from typing import Any

from worldtune.errors import DataError

MAX_LINKS = 16  # in a chain, as in HDF5 itself
HINT = "Write it as robomimic does: data/demo_0."


class ExternalLinkError(Exception):
    """A link to another file."""


def get_member(group: Any, name: str) -> Any:
    """Return the group's member of that name, or None. Raise DataError for a broken link or one to another file."""
    if group.get(name, getlink=True) is None:
        return None
    try:
        member = _follow_link(group, name, 0)
    except ExternalLinkError as error:
        raise hdf5_error(group, "a link to another file", name) from error
    except (KeyError, OSError, RuntimeError) as error:
        raise hdf5_error(group, "a broken link, or damaged", name) from error
    if member.file.filename != group.file.filename:
        raise hdf5_error(group, "a link to another file", name)
    return member


def _follow_link(group: Any, name: str, steps: int) -> Any:
    """Return the target of a link. Raise KeyError if it is missing, ExternalLinkError if it is in another file.

    Links are followed here, one by one: HDF5 would open the other file first.
    """
    link = group.get(name, getlink=True) if hasattr(group, "keys") and steps <= MAX_LINKS else None
    kind = type(link).__name__
    if link is None:
        raise KeyError(name)
    if kind == "ExternalLink":
        raise ExternalLinkError
    if kind != "SoftLink":
        return group[name]
    target = group.file if link.path.startswith("/") else group
    for step in link.path.split("/"):
        target = _follow_link(target, step, steps + 1) if step not in ("", ".") else target
    return target


def member_names(group: Any) -> list[str]:
    names = list(group.keys())
    if not all(isinstance(name, str) for name in names):  # h5py returns a name that is not UTF-8 as bytes
        raise hdf5_error(group, "a name that is not UTF-8", group.name)
    return names


def hdf5_error(group: Any, what: str, name: str) -> DataError:
    return DataError(f"{what} ({name})", where=group.file.filename, hint=HINT)
