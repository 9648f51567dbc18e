"""Which of an episode's task texts says what the robot does.

GR00T's flavour of LeRobot files flags such as "valid" among the tasks; `meta/modality.json` names
the annotation columns, and `annotation.<source>.<type>` holds a task index
(github.com/NVIDIA/Isaac-GR00T, "Robot data conversion guide").
"""

from collections.abc import Iterable
from pathlib import Path

from worldtune.episodes.sources.lerobot_files import parse_json, read_text
from worldtune.errors import DataError

DESCRIPTION = "task_description"
FLAG_WORDS = frozenset({"valid", "invalid", "success", "failure", "true", "false", "good", "bad", "ok", "0", "1"})


def is_flag(task: str) -> bool:
    """A text that judges an episode instead of saying what is done in it."""
    return task.strip().lower() in FLAG_WORDS


def description_column(root: Path) -> str | None:
    """The data column that holds the index of an episode's task text, as modality.json names it."""
    path = root / "meta" / "modality.json"
    if not path.is_file():
        return None
    modality = parse_json(path, read_text(path))
    annotations = modality.get("annotation", {}) if isinstance(modality, dict) else None
    if not isinstance(annotations, dict) or not all(isinstance(entry, dict) for entry in annotations.values()):
        raise DataError("annotation is no mapping of mappings", where=str(path), mend="Restore the file.")
    for name, entry in annotations.items():
        if name.split(".")[-1] == DESCRIPTION:
            return str(entry.get("original_key", f"annotation.{name}"))
    return None


def texts_of(tasks: Iterable[str]) -> list[str]:
    """The tasks that are no flags, in order, each once."""
    return list(dict.fromkeys(task for task in tasks if task.strip() and not is_flag(task)))
