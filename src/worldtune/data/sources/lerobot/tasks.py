"""Task texts: which text describes what the robot does, and in which rows.

A row's `task_index` names its text in `meta/tasks` (github.com/huggingface/lerobot, `LeRobotDataset.__getitem__`);
an episode's list `tasks` is written from a set, so its order means nothing. GR00T's flavor of LeRobot lists flags
such as "valid" among the tasks; `meta/modality.json` names the annotation columns, and `annotation.<source>.<type>`
contains a task index (github.com/NVIDIA/Isaac-GR00T, "Robot data conversion guide").
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from worldtune.core.strict_io import parse_json
from worldtune.data.sources.lerobot.metadata import read_task_text, read_whole_number, reporting_metadata_errors
from worldtune.data.sources.lerobot.metadata_files import RESTORE, Record, read_jsonl, read_records
from worldtune.data.sources.text_file import read_text
from worldtune.errors import DataError

DESCRIPTION, TASK = "task_description", "task_index"
FLAG_WORDS = frozenset({"valid", "invalid", "success", "failure", "true", "false", "good", "bad", "ok", "0", "1"})


def read_tasks(root: Path, version: int) -> dict[int, str]:
    """Return task texts by task index. Raise DataError if the file cannot be understood."""
    with reporting_metadata_errors(root):
        if version == 2:
            records, column = read_jsonl(root / "meta" / "tasks.jsonl", TASK, "task"), "task"
        else:
            records, column = _read_task_table(root / "meta" / "tasks.parquet")
        return {read_whole_number(record, TASK): read_task_text(record[column]) for record in records}


def _read_task_table(path: Path) -> tuple[list[Record], str]:
    """Return the records, and the column with the text: `task`, or the index of a pandas frame under any name."""
    records = read_records([path], TASK)
    texts = [name for name, value in (records[0] if records else {}).items() if isinstance(value, str)]
    known = [name for name in ("task", "__index_level_0__") if name in texts]
    if records and not known and len(texts) != 1:
        raise DataError("no column has the task texts", where=str(path), hint=RESTORE)
    return records, next(iter(known or texts), "")


def is_flag(task: str) -> bool:
    """Return whether a text judges an episode instead of describing it."""
    return task.strip().lower() in FLAG_WORDS


def description_column(root: Path) -> str | None:
    """Return the data column with the index of an episode's task text, as modality.json names it, or None."""
    path = root / "meta" / "modality.json"
    if not path.is_file():
        return None
    modality = parse_json(read_text(path), str(path), hint=RESTORE)
    annotations = modality.get("annotation", {}) if isinstance(modality, dict) else None
    if not isinstance(annotations, dict) or not all(isinstance(entry, dict) for entry in annotations.values()):
        raise DataError("annotation is not a mapping of mappings", where=str(path), hint=RESTORE)
    for name, entry in annotations.items():
        if name.split(".")[-1] == DESCRIPTION:
            return str(entry.get("original_key", f"annotation.{name}"))
    return None


def drop_flags(tasks: Iterable[str]) -> list[str]:
    """Return the tasks that are not flags, in order, each once."""
    return list(dict.fromkeys(task for task in tasks if task.strip() and not is_flag(task)))


def task_runs(indices_T: np.ndarray) -> np.ndarray:
    """Return (first row, index) of each run of equal indices, int64 (R, 2)."""
    firsts = np.flatnonzero(np.diff(indices_T, prepend=indices_T[:1] - 1))
    return np.stack([firsts, indices_T[firsts]], axis=1).astype(np.int64)


def task_parts(runs: np.ndarray, texts: Mapping[int, str]) -> list[tuple[int, str]]:
    """Return (first row, text) at each change of text; "" for a flag or an unknown text."""
    parts: list[tuple[int, str]] = []
    for first, index in runs.tolist():
        text = next(iter(drop_flags([texts.get(index, "")])), "")
        if not parts or parts[-1][1] != text:
            parts.append((first, text))
    return parts
