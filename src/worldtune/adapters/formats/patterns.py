"""Match the keys of peft's `alpha_pattern` and `rank_pattern` with module names, as peft does.

peft matches a key as the regular expression `(.*\\.)?(KEY)$`. Keys come from untrusted files, and Python's matcher
takes exponential time for some: only names and expressions of `key_expression` are accepted.
"""

import re
from collections.abc import Iterable

from worldtune.adapters.formats.key_expression import Name, compile_expression

MOST = 1024  # keys: more than a Cosmos denoiser has linear layers
LONGEST_EXPRESSIONS = 4096  # characters, of all keys that are not plain names together
_PLAIN = re.compile(r"\^?\w+(\.\w+)*")  # diffusers puts ^ before a whole name


class Keys:
    """Keys in their order. Raises ValueError for too many keys, and for an unsupported one."""

    def __init__(self, keys: Iterable[str]) -> None:
        listed = list(keys)
        plain = {key: len(key) for key in listed if _PLAIN.fullmatch(key)}
        if len(listed) > MOST or sum(map(len, listed)) - sum(plain.values()) > LONGEST_EXPRESSIONS:
            raise ValueError(f"its patterns have more than {MOST} keys or {LONGEST_EXPRESSIONS} characters")
        self._keys = [(key, plain.get(key), None if key in plain else compile_expression(key)) for key in listed]

    def find(self, name: str) -> str | None:
        """Return the first key that matches a module's name in peft, None if none does."""
        module = Name(name)
        endings = {len(name), *(len(name) - place - 1 for place, letter in enumerate(name) if letter == ".")}
        for key, length, step in self._keys:
            whole = key.startswith("^")
            if whole and length == len(name) + 1 and _matches(key[1:], name):
                return key
            if not whole and length in endings and _matches(key, name[len(name) - length :]):
                return key
            if step and step(module.starts, module) & module.end:
                return key
        return None


def _matches(key: str, ending: str) -> bool:
    """Return whether a key matches a text of its length; its dots match any character, as in peft's expression."""
    return key == ending or all(wanted in (".", letter) for wanted, letter in zip(key, ending, strict=True))
