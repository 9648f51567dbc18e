"""The kinds of text that facts hold: lines of people, names, digests, times. Anything else is refused as it enters."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from worldtune.registry.clock import time_of
from worldtune.registry.manifest import DIGEST
from worldtune.registry.names import is_channel, is_name

TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
LONGEST_LINE = 2000
# Controls, line separators, surrogates, and characters that reorder or hide text. A list of our own: were it this
# Python's Unicode table, a revocation with a new emoji would hold on some machines only.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def _line(text: str) -> str:
    if not text.strip(" ") or _UNPRINTABLE.search(text):
        raise ValueError("it must be one line of text that can be printed")
    return text


def _person(name: str) -> str:
    if name != name.strip(" "):
        raise ValueError("a name has no spaces around it")
    return _line(name)


def _name(name: str) -> str:
    if not is_name(name):
        raise ValueError("it is not the name of an adapter")
    return name


def _channel(name: str) -> str:
    if not is_channel(name):
        raise ValueError("it is not the name of a channel")
    return name


def _time(text: str) -> str:
    time_of(text)  # a ValueError for the 99th of a month
    return text


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        _line(key)
        if value:
            _line(value)
    return labels


# Text of people, cards and files: it never writes lines or escape sequences of its own where it is shown.
Line = Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(_line)]
Person = Annotated[str, Field(max_length=200), AfterValidator(_person)]
Name = Annotated[str, AfterValidator(_name)]
Channel = Annotated[str, AfterValidator(_channel)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Digest = Annotated[str, Field(pattern=DIGEST)]
Time = Annotated[str, Field(pattern=TIME), AfterValidator(_time)]
