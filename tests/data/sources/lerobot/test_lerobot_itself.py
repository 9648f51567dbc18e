"""Our datasets read by lerobot itself, and its datasets read by us; it needs a newer Python than ours.

WORLDTUNE_LEROBOT names a Python with lerobot ≥ 0.6 (version 3.0), WORLDTUNE_LEROBOT_2 one with 0.3 (version 2.1);
`.ci/lerobot` makes both and runs this file.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldtune.data.episode import Episode
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.data.sources import open_source
from worldtune.data.sources.lerobot.layouts import Version

from ...tables import EPISODES as EPISODES_FILE
from ...tables import change_column
from ...videos import film, read_back, trajectory

CAMERAS = ["observation.images.scene", "observation.images.wrist"]
EPISODES = [(9, "lift the cup"), (21, "open the drawer"), (5, "lift the cup")]
SUPPORT = Path(__file__).parents[3] / "support"
PYTHON: dict[Version, str] = {"v3.0": "WORLDTUNE_LEROBOT", "v2.1": "WORLDTUNE_LEROBOT_2"}


def run(python: str, script: str, *arguments: str, home: Path) -> str:
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hub")}
    command = [python, str(SUPPORT / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | offline)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def read_by_lerobot(python: str, root: Path, home: Path) -> list[Any]:
    lines = run(python, "lerobot_reading.py", str(root), home=home).splitlines()
    return [json.loads(line) for line in lines if line.startswith("[")]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "end"), [("image", 0), ("video", 0), ("video", -1)])
def test_reading_equals_lerobot(tmp_path: Path, kind: str, end: int) -> None:
    """Episodes of two tasks as videos or images, with to_timestamp unchanged or that of the last frame."""
    python = os.environ.get("WORLDTUNE_LEROBOT")
    if not python:
        pytest.skip("WORLDTUNE_LEROBOT names no Python with lerobot: see .ci/lerobot")
    root = tmp_path / "written"
    run(python, "lerobot_writing.py", str(root), kind, home=tmp_path)
    if end:
        column = f"videos/{CAMERAS[0]}/to_timestamp"
        change_column(root / EPISODES_FILE, column, lambda times: [time + end / 16 for time in times])
    rows = []
    for episode in open_source(str(root)).recordings([CAMERAS[0]]):
        assert isinstance(episode, Episode)
        assert episode.states is not None
        assert episode.actions is not None
        frames_THWC = np.stack([frame_HWC for _, frame_HWC in episode.footage.frames(range(episode.frames))])
        texts = [part.task for _, count, part in episode.by_task() for _ in range(count)]
        for t, (shown, text) in enumerate(zip(read_back(frames_THWC), texts, strict=True)):
            numbers = [episode.states[t].tolist(), episode.actions[t].tolist()]
            rows.append([int(episode.name), t, text, *numbers, {CAMERAS[0]: list(shown)}])
    assert len(rows) == 9 + 21 + 6
    assert len({row[2] for row in rows if row[0] == 0}) == 2
    assert rows == read_by_lerobot(python, root, tmp_path)


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
    write_lerobot(tmp_path / "written", episodes, 16, Robot("sawyer"), CAMERAS, version=version)
    rows = read_by_lerobot(python, tmp_path / "written", tmp_path)
    assert rows == [
        [tag, t, task, [t, 0], [tag] * 3, {CAMERAS[0]: [tag, t], CAMERAS[1]: [10 + tag, t]}]
        for tag, (length, task) in enumerate(EPISODES)
        for t in range(length)
    ]
