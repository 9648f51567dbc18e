"""A subset of regular expressions, matched in time linear in the expression and the name.

Supported are plain characters, `.`, `\\d`, `\\w`, escaped punctuation, `[a-z]`, groups with `|`, `^`, `$`; `*`, `+` and
`?` after one character, and `?` after a group. Matches equal those of Python's `re`; other expressions are rejected.

A set of places in a name is an integer: bit k means that the match may have reached the k-th character.
"""

from collections.abc import Callable

DEEPEST = 8  # nested groups
_SPECIAL = set(r".^$*+?{}[]()|\\")
_DIGITS = set("0123456789")
_WORD = _DIGITS | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_PUNCTUATION = _SPECIAL | set("-_/ :,#&~")


class Name:
    """A module's name, and the places of each character in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = 1 << len(text)
        self.everywhere = self.end - 1
        self._places: dict[str, int] = {}
        for place, character in enumerate(text):
            self._places[character] = self._places.get(character, 0) | 1 << place
        self.starts = 1 | self._places.get(".", 0) << 1  # of the name, and after each dot

    def places(self, characters: frozenset[str] | None, *, but: bool = False) -> int:
        """Return the places of any of `characters` (None: of all), or with `but` of any other character."""
        if characters is None:
            return self.everywhere
        found = 0
        for character, places in self._places.items():
            if character in characters:
                found |= places
        return self.everywhere & ~found if but else found


Step = Callable[[int, Name], int]
"""(places where a part may begin, name) → places where it may end."""


def compile_expression(text: str) -> Step:
    """Return the matcher of an expression. Raise ValueError if the expression is not supported."""
    parser = _Parser(text)
    step = parser.alternatives(0)
    if parser.rest:
        raise parser.refused()
    return step


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self.rest = text

    def refused(self) -> ValueError:
        """Return the error for an unsupported expression."""
        where = f"at {self.rest[:10]!r}" if self.rest else "at its end"
        return ValueError(f"the pattern {self._text!r:.80} is not supported, {where}")

    def _take(self, text: str) -> bool:
        if not self.rest.startswith(text):
            return False
        self.rest = self.rest[len(text) :]
        return True

    def _next(self) -> str:
        if not self.rest:
            raise self.refused()
        character, self.rest = self.rest[0], self.rest[1:]
        return character

    def alternatives(self, depth: int) -> Step:
        """Parse sequences separated by |."""
        if depth > DEEPEST:
            raise self.refused()
        steps = [self._sequence(depth)]
        while self._take("|"):
            steps.append(self._sequence(depth))
        return steps[0] if len(steps) == 1 else _any_of(steps)

    def _sequence(self, depth: int) -> Step:
        steps = []
        while self.rest and self.rest[0] not in "|)":
            steps.append(self._part(depth))
        return _all_of(steps)

    def _part(self, depth: int) -> Step:
        if self._take("^"):
            return lambda places, name: places & 1
        if self._take("$"):
            return lambda places, name: places & name.end
        if self._take("("):
            if self.rest.startswith("?") and not self._take("?:"):
                raise self.refused()
            group = self.alternatives(depth + 1)
            if not self._take(")"):
                raise self.refused()
            return self._quantified(group, None)
        characters, but = self._characters()
        return self._quantified(_one(characters, but), (characters, but))

    def _characters(self) -> tuple[frozenset[str] | None, bool]:
        if self._take("."):
            return None, False
        if self._take("["):
            return self._class()
        if self.rest[0] == "\\":
            return frozenset(self._escaped()), False
        if self.rest[0] in _SPECIAL:
            raise self.refused()
        return frozenset(self._next()), False

    def _escaped(self) -> set[str]:
        self._take("\\")
        known = {"d": _DIGITS, "w": _WORD}
        if self.rest[:1] not in known and self.rest[:1] not in _PUNCTUATION:
            raise self.refused()
        character = self._next()
        return known.get(character, {character})

    def _class(self) -> tuple[frozenset[str], bool]:
        but, found = self._take("^"), set[str]()
        while not self._take("]"):
            if self.rest[:1] == "\\":
                found |= self._escaped()
                continue
            first = self._next()
            if first in "[^":
                raise self.refused()
            if self.rest[:1] == "-" and self.rest[1:2] not in ("", "]"):
                self._take("-")
                last = self._next()
                if not (first.isalnum() and last.isalnum() and first <= last <= "z"):
                    raise self.refused()
                found |= {chr(code) for code in range(ord(first), ord(last) + 1)}
            else:
                found.add(first)
        if not found:
            raise self.refused()
        return frozenset(found), but

    def _quantified(self, step: Step, characters: tuple[frozenset[str] | None, bool] | None) -> Step:
        sign = self.rest[:1]
        if sign not in ("*", "+", "?") or not sign:
            return step
        if characters is None and sign != "?":
            raise self.refused()
        self._next()
        self._take("?")  # lazy quantifiers match the same names
        if self.rest[:1] in ("*", "+", "?"):
            raise self.refused()
        if characters is None or sign == "?":
            return lambda places, name: places | step(places, name)
        many = _many(*characters)
        return many if sign == "*" else lambda places, name: many(step(places, name), name)


def _one(characters: frozenset[str] | None, but: bool) -> Step:
    return lambda places, name: (places & name.places(characters, but=but)) << 1


def _many(characters: frozenset[str] | None, but: bool) -> Step:
    """Return the step for any number of the characters: addition carries a place through a run of them."""

    def step(places: int, name: Name) -> int:
        there = name.places(characters, but=but)
        return (((places & there) + there) ^ there) | places

    return step


def _all_of(steps: list[Step]) -> Step:
    def step(places: int, name: Name) -> int:
        for part in steps:
            if not (places := part(places, name)):
                return 0
        return places

    return step


def _any_of(steps: list[Step]) -> Step:
    def step(places: int, name: Name) -> int:
        found = 0
        for alternative in steps:
            found |= alternative(places, name)
        return found

    return step
