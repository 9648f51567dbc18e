"""The budget predicts time and disk from the first dreams, and refuses dreams that do not fit."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from worldtune.dreams.making.budget import Budget, check_disk, measured
from worldtune.errors import UserError

BUDGET = Budget(count=1000, total=2000, done=0, outcomes={"success": 900, "failure": 100}, workers=4)


def test_time_and_disk_follow_from_the_first_dreams(tmp_path: Path) -> None:
    files = []
    for number in range(8):
        for name, size in ((f"{number}.mp4", 90_000), (f"{number}.npz", 10_000)):
            (tmp_path / name).write_bytes(b"\0" * size)
            files.append(tmp_path / name)
    budget = measured(BUDGET, 8, 2.0, files)
    assert budget.remaining_seconds == 2.0 * 992 / 4
    assert budget.bytes == 100_000
    expected = (
        "1000 dreams of 2000 combinations (900 success, 100 failure), 8 already made; about 8 min and 104 MiB to go"
    )
    assert str(budget) == expected


def test_dreams_that_do_not_fit_on_the_disk_are_refused(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_disk(replace(BUDGET, bytes=free / 3000), tmp_path)
    with pytest.raises(UserError, match=r"1000 dreams need about \d+ MiB; \d+ MiB are free.*then resume"):
        check_disk(replace(BUDGET, bytes=free / 500), tmp_path)
