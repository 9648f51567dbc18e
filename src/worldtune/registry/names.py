"""Names of adapters, and references to one release: `cell7/front/pick@production`, `…@12`, `…@sha256:…`."""

import re
from dataclasses import dataclass
from typing import Literal

from worldtune.errors import RegistryError

_PART = r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?"
_NAME = re.compile(rf"{_PART}(?:/{_PART}){{0,5}}")
_CHANNEL = re.compile(r"[a-z][a-z0-9-]*")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{12,64})")
LONGEST = 200


@dataclass(frozen=True)
class Reference:
    """One release of an adapter, by the channel it is in, by its number, or by (the beginning of) its digest."""

    adapter: str
    by: Literal["channel", "number", "digest"]
    value: str

    def __str__(self) -> str:
        return f"{self.adapter}@{'sha256:' if self.by == 'digest' else ''}{self.value}"


def check_name(name: str) -> str:
    """The name. Raises RegistryError unless it is one to six parts in small letters, as robot/cell/camera/task."""
    if not is_name(name):
        raise RegistryError(
            f"{name!r} is no name of an adapter",
            where="name",
            mend="One to six parts of a-z, 0-9, '.', '_' and '-', as robot/cell/camera/task.",
        )
    return name


def is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and len(name) <= LONGEST


def check_channel(name: str) -> str:
    """The channel's name. Raises RegistryError unless it is a word in small letters, as production."""
    if not is_channel(name):
        raise RegistryError(f"{name!r} is no name of a channel", where="channel", mend="A word, as production.")
    return name


def is_channel(name: str) -> bool:
    return bool(_CHANNEL.fullmatch(name)) and len(name) <= LONGEST


def parse_reference(text: str) -> Reference:
    """Raises RegistryError for what is no reference."""
    name, at, value = text.rpartition("@")
    if not at:
        raise RegistryError(
            f"{text!r} names no release", where="reference", mend=f"Add which one: {text}@production, {text}@12."
        )
    check_name(name)
    if digest := _DIGEST.fullmatch(value):
        return Reference(name, "digest", digest[1])
    if _NUMBER.fullmatch(value):
        return Reference(name, "number", value)
    if _CHANNEL.fullmatch(value):
        return Reference(name, "channel", value)
    raise RegistryError(
        f"{value!r} is no channel, no number and no digest",
        where=text,
        mend="As @production, @12, or @sha256: and at least 12 of its hexadecimal digits.",
    )


def is_reference(text: str) -> bool:
    """Has it the form of a reference? A path that there is, is asked for first."""
    name, at, _ = text.rpartition("@")
    return bool(at and _NAME.fullmatch(name))
