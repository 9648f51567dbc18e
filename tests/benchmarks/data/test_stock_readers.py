"""The table of dataset readers beside the stock libraries; `bench data --quick` makes it, in test_data.py."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.data.stock_readers import compare
from benchmarks.fuzzing.fuzz import dataset_readers


def lose_a_recording(found: dict[str, Any]) -> None:
    del found["demo_0 front_image"]


def lose_states(found: dict[str, Any]) -> None:
    found["demo_1 front_image"] = replace(found["demo_1 front_image"], states_TS=None)


def change_everything(found: dict[str, Any]) -> None:
    its = found["demo_1 front_image"]
    assert its.states_TS is not None
    assert its.actions_TA is not None
    found["demo_1 front_image"] = replace(
        its, frames_THWC=its.frames_THWC[::-1], rate=8, tasks=("drop",), states_TS=its.states_TS[1:],
        actions_TA=its.actions_TA + np.float32(1),
    )  # fmt: skip


@pytest.mark.parametrize(("change", "parts"), [(lose_a_recording, 1), (lose_states, 1), (change_everything, 5)])
def test_every_difference_counts(tmp_path: Path, change: Any, parts: int) -> None:
    (reader,) = (each for each in dataset_readers() if each.name == "HDF5")

    def read(folder: Path) -> Any:
        found = reader.read(folder)
        change(found)
        return found

    row = compare(replace(reader, read=read), tmp_path)
    assert row["name"] == "reader HDF5 against h5py: 51 frames, 102 rows, 3 texts; differing"
    assert (row["value"], row["reached"]) == (parts, False)
