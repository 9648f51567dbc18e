"""HDF5 files of numbered frames, as robomimic writes them."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .videos import film

CAMERA = "agentview_image"
ENV_ARGS = {"env_name": "Lift", "env_kwargs": {"control_freq": 16, "robots": ["Panda"]}}
PROBLEM = {"language_instruction": "lift the cup"}
LENGTHS = {"demo_0": 9, "demo_2": 12, "demo_10": 10}


def write_demos(
    path: Path, lengths: dict[str, int] = LENGTHS, env_args: Any = ENV_ARGS, problem: Any = PROBLEM, tag: int = 0
) -> Path:
    """Write a demonstration of each name and length, whose frames have the tags `tag`, `tag` + 1, …."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = env_args if isinstance(env_args, str) else json.dumps(env_args)
        data.attrs["problem_info"] = json.dumps(problem)
        for number, (name, length) in enumerate(lengths.items()):
            demo = data.create_group(name)
            demo["actions"] = np.full((length, 7), number, np.float64)
            demo[f"obs/{CAMERA}"] = film(length, tag + number)
            demo["obs/robot0_eef_pos"] = np.arange(3 * length).reshape(length, 3)
            demo["obs/robot0_gripper_qpos"] = np.zeros((length, 2))
            demo["obs/object"] = np.zeros((length, 10))
    return path
