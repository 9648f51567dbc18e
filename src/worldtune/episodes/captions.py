"""Captions: a template over what the source knows of a recording."""

from string import Formatter

FIELDS = ("task", "camera", "caption")


def fields_of(template: str) -> list[str]:
    """The fields a template names. Raises ValueError for one that a recording does not have."""
    names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    for name in names:
        if name not in FIELDS:
            raise ValueError(f"unknown caption field '{{{name}}}'; the fields are {', '.join(FIELDS)}")
    return names


def caption_of(template: str, *, task: str, camera: str, caption: str) -> str | None:
    """The filled template, or None when a field it names is empty: a missing caption is never ''."""
    values = {"task": task.strip(), "camera": camera, "caption": caption.strip()}
    if not all(values[name] for name in fields_of(template)):
        return None
    return template.format(**values).strip() or None
