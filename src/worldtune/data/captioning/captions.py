"""Captions: a template over what is known of a recording, or a file that people have reviewed.

The file is YAML, with one entry per recording, or one per part if its task changes. `worldtune caption` writes it
for people to edit:

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
from pydantic import Field, TypeAdapter, ValidationError

from worldtune.core.files import atomic_file, digest_bytes
from worldtune.core.settings import StrictModel
from worldtune.core.strict_io import read_yaml
from worldtune.data.episode import Episode
from worldtune.errors import DataError

CAPTION_FIELDS = ("task", "camera", "caption", "robot", "viewpoint")


class ReviewedCaption(StrictModel):
    """A recording's caption from `first_frame` on, and its origin; without `sha256` a person wrote it."""

    episode: str
    camera: str
    first_frame: int = Field(0, ge=0)
    caption: str
    origin: str = ""
    sha256: str | None = None

    @property
    def edited(self) -> bool:
        """Whether the caption differs from the one first written."""
        return self.sha256 != digest_bytes(self.caption.encode())


def write_captions(path: Path, captions: list[ReviewedCaption]) -> None:
    """Write the file, atomically; each caption of a model gets the digest of its first text."""
    entries = [_entry(caption) for caption in captions]
    with atomic_file(path) as partial:
        partial.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=100), encoding="utf-8")


def _entry(caption: ReviewedCaption) -> dict[str, str | int | None]:
    excluded = set() if caption.first_frame else {"first_frame"}
    return caption.model_dump(exclude=excluded) | {"sha256": caption.sha256 or _caption_digest(caption)}


def _caption_digest(entry: ReviewedCaption) -> str | None:
    return digest_bytes(entry.caption.encode()) if entry.origin else None


def read_captions(path: Path) -> list[ReviewedCaption]:
    """Return the captions in such a file. Raise DataError if it cannot be read or names a recording twice."""
    hint = "Write a list of episode, camera, caption; see data.captions."
    value = read_yaml(path, hint=hint)
    try:
        captions = TypeAdapter(list[ReviewedCaption]).validate_python(value)
    except ValidationError as error:
        raise DataError(f"not a file of captions: {_describe_error(error)}", where=str(path), hint=hint) from error
    names = Counter((entry.episode, entry.camera, str(entry.first_frame)) for entry in captions)
    if duplicate := next((name for name, count in names.items() if count > 1), None):
        raise DataError(f"{'/'.join(duplicate[:2])} has two captions", where=str(path), hint="Keep one.")
    return captions


def _describe_error(error: ValidationError) -> str:
    first = error.errors()[0]
    where = "/".join(map(str, first["loc"]))
    return f"{where}: {first['msg'].lower()}" if where else first["msg"].lower()


@lru_cache(maxsize=64)
def template_fields(template: str) -> tuple[str, ...]:
    """Return the fields that a template names. Raise ValueError for a field that a recording does not have."""
    names = []
    for _, name, form, conversion in Formatter().parse(template):
        if name is None:
            continue
        if form or conversion:
            raise ValueError(f"the caption field '{{{name}}}' cannot be formatted: remove what follows its name")
        names.append(name)
    for name in names:
        if name not in CAPTION_FIELDS:
            raise ValueError(f"unknown caption field '{{{name}}}'; the fields are {', '.join(CAPTION_FIELDS)}")
    return tuple(names)


@dataclass(frozen=True)
class Captioner:
    """The caption template, and `reviewed` captions by episode and camera, which replace the source's own."""

    template: str
    robot: str = ""
    viewpoints: dict[str, str] = field(default_factory=dict)
    reviewed: dict[tuple[str, str], list[ReviewedCaption]] = field(default_factory=dict)

    def caption(self, episode: Episode, first: int = 0) -> tuple[str | None, str]:
        """Return the caption from frame `first` on and its origin; or None and which field of the template is empty."""
        text, origin = self._caption_text(episode, first)
        values = {
            "task": single_line(episode.task),
            "camera": episode.camera,
            "caption": single_line(text),
            "robot": self.robot or episode.robot,
            "viewpoint": self.viewpoints.get(episode.camera, ""),
        }
        names = template_fields(self.template)
        if empty := next((name for name in names if not values[name]), None):
            return None, f"{{{empty}}} is empty"
        if "caption" not in names:
            origin = "template"
        elif self.template != "{caption}":
            origin = f"template over {origin}"
        return (
            (filled, origin) if (filled := self.template.format(**values).strip()) else (None, "the template is empty")
        )

    def _caption_text(self, episode: Episode, first: int) -> tuple[str, str]:
        entries = self.reviewed.get((episode.name, episode.camera), [])
        started = [entry for entry in entries if entry.first_frame <= first]
        if not started:
            return episode.caption, "source"
        latest = max(started, key=lambda entry: entry.first_frame)
        origin = latest.origin or "review file"
        return latest.caption, f"{origin}, edited by hand" if latest.sha256 and latest.edited else origin


@lru_cache(maxsize=4096)
def single_line(text: str) -> str:
    """Return the text in one line; each control character (a line break, a tab, an escape) becomes a space."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


@lru_cache(maxsize=4096)
def control_character_note(text: str) -> str:
    """Return the ledger's note for a caption with control characters other than white space, or ""."""
    found = any(unicodedata.category(char) == "Cc" and not char.isspace() for char in text)
    return "control characters removed from its caption" if found else ""
