"""The catalog's entry of a base, which is known without the base's files."""

from worldtune.models.catalog import KnownBase
from worldtune.models.resolve_base import find_base


def known_base(name: str) -> KnownBase:
    """Return the catalog's entry of a recipe's base. Raise BaseError if the name is not in the catalog."""
    return find_base(name.partition("=")[0].partition("+")[0], f"base: {name}")
