"""The keys of peft's `alpha_pattern` and `rank_pattern`, found in a module's name as peft finds them.

peft matches a key as the regular expression `(.*\\.)?(KEY)$`. Whoever made the file wrote it, and Python's matcher
takes exponential time for some: only keys that are names, or expressions of `key_expression`, are read.
"""

import re
from collections.abc import Iterable

from worldtune.adapters.key_expression import Name, compile_expression

MOST = 1024  # keys: more than a Cosmos denoiser has linear layers
LONGEST_EXPRESSIONS = 4096  # characters of all keys together that are more than names
_PLAIN = re.compile(r"\^?\w+(\.\w+)*")  # diffusers puts ^ before a whole name


class Keys:
    """Keys in their order. Raises ValueError for too many, and for one that is not read."""

    def __init__(self, keys: Iterable[str]) -> None:
        listed = list(keys)
        plain = {key: len(key) for key in listed if _PLAIN.fullmatch(key)}
        if len(listed) > MOST or sum(map(len, listed)) - sum(plain.values()) > LONGEST_EXPRESSIONS:
            raise ValueError(f"its patterns are more than {MOST} keys or {LONGEST_EXPRESSIONS} characters")
        self._keys = [(key, plain.get(key), None if key in plain else compile_expression(key)) for key in listed]

    def find(self, name: str) -> str | None:
        """Return the first key that peft finds in a module's name, None if there is none."""
        module = Name(name)
        endings = {len(name), *(len(name) - place - 1 for place, letter in enumerate(name) if letter == ".")}
        for key, length, step in self._keys:
            whole = key.startswith("^")
            if whole and length == len(name) + 1 and _alike(key[1:], name):
                return key
            if not whole and length in endings and _alike(key, name[len(name) - length :]):
                return key
            if step and step(module.starts, module) & module.end:
                return key
        return None


def _alike(key: str, ending: str) -> bool:
    """A dot of the key stands for any character, as in the regular expression that it is for peft."""
    return key == ending or all(wanted in (".", letter) for wanted, letter in zip(key, ending, strict=True))
