"""The parts of an HDF5 file by name, of this file alone: its links may lead to others, which its digest is not of."""

from typing import Any

from worldtune.errors import DataError

MOST_LINKS = 16  # one after the other, as HDF5 itself has it
MEND = "Write it as robomimic does: data/demo_0."


class LinkOutError(Exception):
    """A link to another file."""


def part(group: Any, name: str) -> Any:
    """The group's part of that name, None if it has none. Raises DataError for a link to nothing or out of the file."""
    if group.get(name, getlink=True) is None:
        return None
    try:
        found = _followed(group, name, 0)
    except LinkOutError as error:
        raise fault(group, "a link out of the file", name) from error
    except (KeyError, OSError, RuntimeError) as error:
        raise fault(group, "a link to nothing, or damaged", name) from error
    if found.file.filename != group.file.filename:
        raise fault(group, "a link out of the file", name)
    return found


def _followed(group: Any, name: str, steps: int) -> Any:
    """What a link inside the file leads to. Raises KeyError for nothing, LinkOutError for another file.

    Links are followed one by one, here: HDF5 would open the other file first.
    """
    link = group.get(name, getlink=True) if hasattr(group, "keys") and steps <= MOST_LINKS else None
    kind = type(link).__name__
    if link is None:
        raise KeyError(name)
    if kind == "ExternalLink":
        raise LinkOutError
    if kind != "SoftLink":
        return group[name]
    found = group.file if link.path.startswith("/") else group
    for step in link.path.split("/"):
        found = _followed(found, step, steps + 1) if step not in ("", ".") else found
    return found


def names_in(group: Any) -> list[str]:
    names = list(group.keys())
    if not all(isinstance(name, str) for name in names):  # h5py gives what is no UTF-8 as bytes
        raise fault(group, "a name that is no UTF-8", group.name)
    return names


def fault(group: Any, what: str, name: str) -> DataError:
    return DataError(f"{what} ({name})", where=group.file.filename, mend=MEND)
