"""The types of text in events: lines, names, digests, times. Validation rejects anything else."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from worldtune.registry.clock import parse_time
from worldtune.registry.names import is_channel, is_name
from worldtune.registry.store.manifest import DIGEST_PATTERN

TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
MAX_LINE_LENGTH = 2000
# Controls, line separators, surrogates, and characters that reorder or hide text. A fixed list: with the Unicode table
# of the running Python, a revocation with a new emoji would be valid on some machines only.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def _check_line(text: str) -> str:
    if not text.strip(" ") or _UNPRINTABLE.search(text):
        raise ValueError("must be one line of printable text")
    return text


def _check_person(name: str) -> str:
    if name != name.strip(" "):
        raise ValueError("a name must not start or end with a space")
    return _check_line(name)


def _check_name(name: str) -> str:
    if not is_name(name):
        raise ValueError("not a valid adapter name")
    return name


def _check_channel(name: str) -> str:
    if not is_channel(name):
        raise ValueError("not a valid channel name")
    return name


def _check_time(text: str) -> str:
    parse_time(text)  # raises ValueError for the 99th of a month
    return text


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        _check_line(key)
        if value:
            _check_line(value)
    return labels


# Text from people, cards and files: it cannot add lines or escape sequences where it is shown.
Line = Annotated[str, Field(max_length=MAX_LINE_LENGTH), AfterValidator(_check_line)]
Person = Annotated[str, Field(max_length=200), AfterValidator(_check_person)]
Name = Annotated[str, AfterValidator(_check_name)]
Channel = Annotated[str, AfterValidator(_check_channel)]
Labels = Annotated[dict[str, str], AfterValidator(_check_labels)]
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN)]
Time = Annotated[str, Field(pattern=TIME_PATTERN), AfterValidator(_check_time)]
