import json
from pathlib import Path

import numpy as np
import pytest

from worldtune.core.intervals.wilson import wilson_interval
from worldtune.errors import UserError
from worldtune.policy.simulation.results import PolicyEvaluation, read_evaluation, rows_of


@pytest.fixture
def found() -> PolicyEvaluation:
    success_PR = np.array([[True, False, True, True], [False, False, True, False]])
    rows = rows_of(("good", "bad"), success_PR, np.where(success_PR, 9, 26))
    return PolicyEvaluation("reach", "top", 26, [1, 2, 3, 4], rows)


def test_rates_and_intervals(found: PolicyEvaluation) -> None:
    assert found.successes("good") == 3
    assert found.interval("good") == wilson_interval(3, 4)
    gain = found.difference("good", "bad")
    assert gain is not None
    assert gain.mean == 0.5
    assert gain.interval_covers == ("resets",)


def test_saved_evaluation_is_read_back(found: PolicyEvaluation, tmp_path: Path) -> None:
    found.save(tmp_path / "results.json")
    assert read_evaluation(tmp_path / "results.json") == found


def test_rows_must_have_one_result_for_each_seed(found: PolicyEvaluation, tmp_path: Path) -> None:
    value = found.as_json()
    value["policies"][1]["success"].pop()
    (tmp_path / "results.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match="'bad' has 3 results for 4 seeds"):
        read_evaluation(tmp_path / "results.json")
