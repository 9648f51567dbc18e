"""What must fit before two LeRobot datasets are mixed: columns, rates, sizes, and the range of their numbers.

Shapes: N rows, S numbers of a state, A numbers of an action.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worldtune.core.files import digest_json
from worldtune.core.strict_io import read_json_object
from worldtune.data.builtin import resolve_data_path
from worldtune.data.columns import ACTION, DEFAULT_COLUMNS, IS_SYNTHETIC, STATE
from worldtune.data.sources.lerobot.metadata import read_episode_records
from worldtune.data.sources.lerobot.metadata_files import read_jsonl
from worldtune.data.sources.lerobot.source import LeRobotSource
from worldtune.data.sources.storage import LocalStorage
from worldtune.data.video.file_cache import cached_file_digest
from worldtune.dreams.export import OUTCOME
from worldtune.errors import DataError

CONTENT_FOLDERS = ("meta", "data", "videos", "images")
RANGE_TOLERANCE = 1e-3  # of a dimension's range, for statistics in single precision


@dataclass(frozen=True, eq=False)
class DatasetFacts:
    """A LeRobot dataset's description and all of its rows, (N, S) and (N, A); `outcomes` are those it declares."""

    folder: Path
    fps: float
    episodes: int
    features: dict[str, Any]
    rows: dict[str, npt.NDArray[np.float32]]
    outcomes: frozenset[str]

    @property
    def frames(self) -> int:
        return len(self.rows[ACTION])

    @property
    def is_synthetic(self) -> bool:
        return IS_SYNTHETIC in self.features

    @property
    def cameras(self) -> set[str]:
        return {name for name, feature in self.features.items() if feature.get("dtype") in ("video", "image")}


def read_dataset_facts(path: str | Path) -> DatasetFacts:
    """Return the facts of the LeRobot dataset at `path`, a folder or `builtin:NAME`.

    Raise DataError if it is not a LeRobot dataset, its rows cannot be read or have no actions, or its stored
    statistics are those of another dataset.
    """
    folder = resolve_data_path(str(path))
    if not (folder / "meta" / "info.json").is_file():
        hint = "Name the folder that holds meta/info.json."
        raise DataError("this is not a LeRobot dataset", where=str(folder), hint=hint)
    source = LeRobotSource(str(path), folder, LocalStorage(), columns=DEFAULT_COLUMNS)
    rows = _read_rows(source)
    if ACTION not in rows:
        raise DataError("the dataset has no actions", where=str(folder), hint="Mix datasets with a column `action`.")
    for name, values_ND in rows.items():
        _check_statistics(folder, name, values_ND)
    records = read_episode_records(folder, source.version)
    outcomes = frozenset(str(record[OUTCOME]) for record in records if record.get(OUTCOME) is not None)
    return DatasetFacts(folder, source.fps, source.count, source.info["features"], rows, outcomes)


def digest_dataset(folder: Path) -> str:
    """Return the SHA-256 of all files of metadata, rows and frames, with their names."""
    files = sorted(file for part in CONTENT_FOLDERS for file in (folder / part).rglob("*") if file.is_file())
    return digest_json({file.relative_to(folder).as_posix(): cached_file_digest(file) for file in files})


def _read_rows(source: LeRobotSource) -> dict[str, npt.NDArray[np.float32]]:
    episodes = [source.read_episode_rows(metadata).rows for metadata in source.episode_metadata]
    found = {
        STATE: [rows.states for rows in episodes if rows is not None and rows.states is not None],
        ACTION: [rows.actions for rows in episodes if rows is not None and rows.actions is not None],
    }
    for name, parts in found.items():
        if parts and len(parts) < len(episodes):
            what = f"only {len(parts)} of {len(episodes)} episodes have {name}"
            raise DataError(what, where=source.path, hint="Write episodes with and without it as two datasets.")
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def _check_statistics(folder: Path, name: str, values_ND: npt.NDArray[np.float32]) -> None:
    """Raise DataError unless the stored extremes of a column are those of its rows."""
    stored = _stored_extremes(folder, name)
    actual = {"min": values_ND.min(0), "max": values_ND.max(0)}
    slack = RANGE_TOLERANCE * (actual["max"] - actual["min"]).max() + 1e-6
    for key, value in actual.items():
        if stored[key].shape != value.shape or np.abs(stored[key] - value).max() > slack:
            what = f"the stored statistics of {name} are those of another dataset: {key} is {stored[key].tolist()}, "
            what += f"but that of its rows is {value.tolist()}"
            raise DataError(what, where=str(folder / "meta"), hint="Compute the dataset's statistics again.")


def _stored_extremes(folder: Path, name: str) -> dict[str, npt.NDArray[np.float64]]:
    """Return the least and largest values that `meta/stats.json` or `meta/episodes_stats.jsonl` states."""
    if (folder / "meta" / "stats.json").is_file():
        stored = [read_json_object(folder / "meta" / "stats.json")]
    else:
        stored = [record["stats"] for record in read_jsonl(folder / "meta" / "episodes_stats.jsonl", "stats")]
    where = str(folder / "meta")
    return {
        "min": np.min([_statistic(statistics, name, "min", where) for statistics in stored], axis=0),
        "max": np.max([_statistic(statistics, name, "max", where) for statistics in stored], axis=0),
    }


def _statistic(statistics: Mapping[str, Any], name: str, key: str, where: str) -> npt.NDArray[np.float64]:
    values = statistics.get(name, {}).get(key)
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise DataError(f"the statistics state no {key} of {name}", where=where, hint="Compute them again.")
    return np.array(values, np.float64)
