"""Names of adapters, and references to one release: `cell7/front/pick@production`, `…@12`, `…@sha256:…`."""

import re
from dataclasses import dataclass
from typing import Literal

from worldtune.errors import RegistryError

_SEGMENT = r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,5}}")
_CHANNEL = re.compile(r"[a-z][a-z0-9-]*")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{12,64})")
MAX_LENGTH = 200


@dataclass(frozen=True)
class Reference:
    """One release of an adapter, named by a channel, by its number, or by (a prefix of) its digest."""

    adapter: str
    by: Literal["channel", "number", "digest"]
    value: str

    def __str__(self) -> str:
        return f"{self.adapter}@{'sha256:' if self.by == 'digest' else ''}{self.value}"


def check_name(name: str) -> str:
    """Return the name. Raise RegistryError unless it has one to six lowercase parts, as robot/cell/camera/task."""
    if not is_name(name):
        raise RegistryError(
            f"{name!r} is not a valid adapter name",
            where="name",
            hint="Use one to six parts of a-z, 0-9, '.', '_' and '-', such as robot/cell/camera/task.",
        )
    return name


def is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and len(name) <= MAX_LENGTH


def check_channel(name: str) -> str:
    """Return the channel's name. Raise RegistryError unless it is a lowercase word, as production."""
    if not is_channel(name):
        hint = "Use a lowercase word, such as production."
        raise RegistryError(f"{name!r} is not a valid channel name", where="channel", hint=hint)
    return name


def is_channel(name: str) -> bool:
    return bool(_CHANNEL.fullmatch(name)) and len(name) <= MAX_LENGTH


def parse_reference(text: str) -> Reference:
    """Return the reference that a text states. Raise RegistryError if it is not one."""
    name, at, value = text.rpartition("@")
    if not at:
        raise RegistryError(
            f"{text!r} names no release", where="reference", hint=f"Add a version: {text}@production or {text}@12."
        )
    check_name(name)
    if digest := _DIGEST.fullmatch(value):
        return Reference(name, "digest", digest[1])
    if _NUMBER.fullmatch(value):
        return Reference(name, "number", value)
    if _CHANNEL.fullmatch(value):
        return Reference(name, "channel", value)
    raise RegistryError(
        f"{value!r} is not a channel, number or digest",
        where=text,
        hint="Use @production, @12, or @sha256: and at least 12 hexadecimal digits.",
    )


def is_reference(text: str) -> bool:
    """Return whether a text has the form of a reference. Callers check for an existing path first."""
    name, at, _ = text.rpartition("@")
    return bool(at and _NAME.fullmatch(name))
