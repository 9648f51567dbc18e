"""Captions: a template over what is known of a recording, or a file that people have looked through.

The file is YAML, one entry a recording, written by `worldtune caption` and meant to be edited:

    - episode: '000012'
      camera: front
      caption: The fixed front camera shows …
      origin: qwen at http://localhost:8000
      sha256: of the caption as it was written, so that an edit shows
"""

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from string import Formatter

import yaml
from pydantic import TypeAdapter, ValidationError

from worldtune.core.strict_io import read_yaml
from worldtune.episodes.episode import Episode
from worldtune.errors import DataError
from worldtune.files import atomic_file, digest_bytes
from worldtune.strict import Strict

FIELDS = ("task", "camera", "caption", "robot", "viewpoint")


class Reviewed(Strict):
    """One recording's caption and where it is from; without `sha256` a person wrote it."""

    episode: str
    camera: str
    caption: str
    origin: str = ""
    sha256: str | None = None

    @property
    def edited(self) -> bool:
        """Is the caption another than was written first?"""
        return self.sha256 != digest_bytes(self.caption.encode())


def write_captions(path: Path, captions: list[Reviewed]) -> None:
    """Write the file, atomically, each caption that a model wrote with the digest that it had then."""
    entries = [entry.model_dump() | {"sha256": entry.sha256 or _digest_of(entry)} for entry in captions]
    with atomic_file(path) as partial:
        partial.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=100), encoding="utf-8")


def _digest_of(entry: Reviewed) -> str | None:
    return digest_bytes(entry.caption.encode()) if entry.origin else None


def read_captions(path: Path) -> list[Reviewed]:
    """What such a file holds. Raises DataError when it cannot be read or names a recording twice."""
    mend = "Write a list of episode, camera, caption; see data.captions."
    value = read_yaml(path, mend=mend)
    try:
        found = TypeAdapter(list[Reviewed]).validate_python(value)
    except ValidationError as error:
        raise DataError(f"not a file of captions: {_said(error)}", where=str(path), mend=mend) from error
    names = Counter((entry.episode, entry.camera) for entry in found)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise DataError(f"{'/'.join(twice)} has two captions", where=str(path), mend="Leave one.")
    return found


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    where = "/".join(map(str, first["loc"]))
    return f"{where}: {first['msg'].lower()}" if where else first["msg"].lower()


@lru_cache(maxsize=64)
def fields_of(template: str) -> tuple[str, ...]:
    """The fields a template names. Raises ValueError for one that a recording does not have."""
    names = []
    for _, name, form, conversion in Formatter().parse(template):
        if name is None:
            continue
        if form or conversion:
            raise ValueError(f"the caption field '{{{name}}}' cannot be formatted: leave out what follows its name")
        names.append(name)
    for name in names:
        if name not in FIELDS:
            raise ValueError(f"unknown caption field '{{{name}}}'; the fields are {', '.join(FIELDS)}")
    return tuple(names)


@dataclass(frozen=True)
class Captioner:
    """Fills the template; `reviewed` captions, by episode and camera, stand for the source's own."""

    template: str
    robot: str = ""
    viewpoints: dict[str, str] = field(default_factory=dict)
    reviewed: dict[tuple[str, str], Reviewed] = field(default_factory=dict)

    def caption(self, episode: Episode) -> tuple[str | None, str]:
        """The caption and its origin, or None and which field is empty that the template names."""
        text, origin = self._text(episode)
        values = {
            "task": printable(episode.task),
            "camera": episode.camera,
            "caption": printable(text),
            "robot": self.robot or episode.robot,
            "viewpoint": self.viewpoints.get(episode.camera, ""),
        }
        names = fields_of(self.template)
        if empty := next((name for name in names if not values[name]), None):
            return None, f"{{{empty}}} is empty"
        if "caption" not in names:
            origin = "template"
        elif self.template != "{caption}":
            origin = f"template over {origin}"
        return (said, origin) if (said := self.template.format(**values).strip()) else (None, "the template is empty")

    def _text(self, episode: Episode) -> tuple[str, str]:
        found = self.reviewed.get((episode.name, episode.camera))
        if found is None:
            return episode.caption, "source"
        origin = found.origin or "review file"
        return found.caption, f"{origin}, edited by hand" if found.sha256 and found.edited else origin


@lru_cache(maxsize=4096)
def printable(text: str) -> str:
    """The text in one line, each control character (a line break, a tab, an escape) a space."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


@lru_cache(maxsize=4096)
def note_of_controls(text: str) -> str:
    """What the ledger says of a caption with control characters that are no white space, or ""."""
    found = any(unicodedata.category(char) == "Cc" and not char.isspace() for char in text)
    return "control characters left out of its caption" if found else ""
