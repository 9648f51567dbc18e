"""What we write, read by lerobot itself, which needs a newer Python than ours.

WORLDTUNE_LEROBOT names a Python with lerobot ≥ 0.6 (version 3.0), WORLDTUNE_LEROBOT_2 one with 0.3 (version 2.1);
`.ci/lerobot` makes both and runs this file.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from worldtune.episodes.lerobot_layouts import Version
from worldtune.episodes.lerobot_writer import write_lerobot

from .films import film, trajectory

CAMERAS = ["observation.images.scene", "observation.images.wrist"]
EPISODES = [(9, "lift the cup"), (21, "open the drawer"), (5, "lift the cup")]
READER = Path(__file__).parents[1] / "support" / "lerobot_reading.py"
PYTHON: dict[Version, str] = {"v3.0": "WORLDTUNE_LEROBOT", "v2.1": "WORLDTUNE_LEROBOT_2"}


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHON)
def test_lerobot_reads_it_frame_for_frame(tmp_path: Path, version: Version) -> None:
    python = os.environ.get(PYTHON[version])
    if not python:
        pytest.skip(f"{PYTHON[version]} names no Python with lerobot: see .ci/lerobot")
    episodes = []
    for tag, (length, task) in enumerate(EPISODES):
        _, states_TS, actions_TA, _ = trajectory(length, tag, task)
        films = {CAMERAS[0]: film(length, tag), CAMERAS[1]: film(length, 10 + tag)}
        episodes.append((films, states_TS, actions_TA, task))
    write_lerobot(tmp_path / "written", episodes, 16, "sawyer", CAMERAS, version=version)
    command = [python, str(READER), str(tmp_path / "written")]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | offline)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert rows == [
        [tag, t, task, [t, 0], [tag] * 3, {CAMERAS[0]: [tag, t], CAMERAS[1]: [10 + tag, t]}]
        for tag, (length, task) in enumerate(EPISODES)
        for t in range(length)
    ]
