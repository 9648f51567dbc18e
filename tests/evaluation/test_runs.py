from pathlib import Path
from typing import Any

import pytest

from support.adapters import SPECS, make_card
from support.training import small_recipe
from worldtune.adapters.card import write_card
from worldtune.errors import UserError
from worldtune.evaluation.runs import read_runs
from worldtune.training.run import RunFolder


@pytest.mark.parametrize("lineage", [{}, {"datasets": []}, {"datasets": {}}])
def test_a_card_without_its_datasets_is_named(tmp_path: Path, lineage: dict[str, Any]) -> None:
    run = RunFolder(tmp_path / "run")
    run.start(small_recipe(Path("base"), Path("films")))
    run.adapter.mkdir()
    write_card(run.adapter, make_card(SPECS["lora"], "base").model_copy(update={"lineage": lineage}))
    with pytest.raises(UserError, match="does not say what it was trained on"):
        read_runs({"run": run.path})
