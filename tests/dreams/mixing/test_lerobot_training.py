"""Exported dreams in lerobot itself: read frame for frame, and mixed with real data to train one of its policies.

`.ci/lerobot` makes the environments that WORLDTUNE_LEROBOT (≥ 0.6) and WORLDTUNE_LEROBOT_2 (0.3) name.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreams.exported import CAMERA, LINEAGE, SPACE, commands, dream, export, states, write_real
from worldtune.data.sources.lerobot.layouts import Version
from worldtune.dreams.mixing.mixture import write_mixture

ROOT = Path(__file__).parents[3]
PYTHON: dict[Version, str] = {"v3.0": "WORLDTUNE_LEROBOT", "v2.1": "WORLDTUNE_LEROBOT_2"}
LENGTHS = (9, 21, 6)


def run(version: Version, script: str, argument: Path, home: Path) -> list[Any]:
    """Return the lines of JSON that a script prints in lerobot's environment."""
    python = os.environ.get(PYTHON[version])
    if not python:
        pytest.skip(f"{PYTHON[version]} names no Python with lerobot: see .ci/lerobot")
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hub"), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [python, str(ROOT / "tests/support" / script), str(argument)], capture_output=True, text=True, check=False,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("[", "{"))]


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHON)
def test_lerobot_reads_dreams_frame_for_frame(tmp_path: Path, version: Version) -> None:
    export(tmp_path / "dreams", [dream(length, tag) for tag, length in enumerate(LENGTHS)], version=version)
    rows = run(version, "lerobot_reading.py", tmp_path / "dreams", tmp_path)
    assert rows == [
        [tag, t, "lift the cup", states(length, tag)[t].tolist(), np.tile(commands(length, tag)[t], 2).tolist(),
         {CAMERA: [tag, t]}]
        for tag, length in enumerate(LENGTHS)
        for t in range(length - 1)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHON)
def test_lerobot_trains_a_policy_on_the_mixture(tmp_path: Path, version: Version) -> None:
    export(tmp_path / "dreams", [dream(length, tag) for tag, length in enumerate(LENGTHS)], version=version)
    real = write_real(tmp_path / "real", version=version)
    write_mixture(real, tmp_path / "dreams", action_space=SPACE)
    (result,) = run(version, "lerobot_training.py", tmp_path / "dreams/mixture.json", tmp_path)
    assert len(result["losses"]) == 20
    assert np.isfinite(result["losses"]).all()
    assert np.mean(result["losses"][-5:]) < 0.8 * np.mean(result["losses"][:5])
    assert result["synthetic"] == [4] * 20
    assert (result["is_synthetic"], result["left_out"]) == ([True, False, True], [])
    assert result["lineage"] == LINEAGE | {"seed": "1"}
    assert result["outcome"] == "success"
    assert result["declared"]["action_space"] == SPACE.model_dump(mode="json")
