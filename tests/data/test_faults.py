from pathlib import Path
from typing import Any

import pytest

from worldtune.data.dataset import build_dataset, open_dataset
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

from .videos import cosmos_folder

FILMS = {"one": {"a": 21}, "short": {"a": 8, "b": 8}}


@pytest.mark.parametrize(
    ("films", "settings", "message", "hint"),
    [
        ("one", {"held_out": 0.2}, "held_out is 0.2 of 1 usable episode", "Lower data.held_out, or record more"),
        ("short", {}, "no clip can be used", "Not used: 2 × shorter than the window."),
    ],
)
def test_each_fault_has_its_own_hint(
    tmp_path: Path, films: str, settings: dict[str, Any], message: str, hint: str
) -> None:
    cosmos_folder(tmp_path, FILMS[films])
    spec = DataSpec(path=str(tmp_path), frames=21, fps=16, height=64, width=64, **settings)
    with pytest.raises(DataError) as error:
        open_dataset(spec)
    assert message in error.value.what
    assert error.value.hint.startswith(hint)
    assert "max_skipped" not in error.value.hint
    assert len(build_dataset(spec).faults) == 1
