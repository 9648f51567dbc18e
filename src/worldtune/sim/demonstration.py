"""One scripted demonstration: run the expert, and film it at 16 frames per second."""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP

from worldtune.sim.clip_format import FRAMES, STEPS_PER_FRAME, scene_prompt
from worldtune.sim.tasks import Task
from worldtune.sim.views import LOOK_AT, Spread, View

SETTLE_STEPS = 6  # control steps that the expert continues after success, before it stops
COMMAND_NOISE = 0.05  # standard deviation, in units of the command range [-1, 1]


@dataclass(frozen=True)
class Demonstration:
    """A filmed demonstration.

    frames: uint8 (21, H, W, 3). states: (21, 4), hand x, y, z in meters and gripper opening. actions: (21, 5, 4), the
    commands dx, dy, dz, gripper after each frame.
    """

    prompt: str
    task: str
    view: str
    seed: int
    success_step: int
    frames: np.ndarray
    states: np.ndarray
    actions: np.ndarray


def open_scene(task: Task) -> Any:
    """Return the task's environment, with a visible goal and layouts drawn from `env.seed`."""
    env = ALL_V3_ENVIRONMENTS[task.environment]()
    env._partially_observable = False
    env._freeze_rand_vec = False
    env.seeded_rand_vec = True
    env._set_task_called = True
    del env.sawyer_observation_space  # cached for the hidden-goal variant; it would clip the goal to 0
    _dress(env.model, task)
    return env


def _dress(model: Any, task: Task) -> None:
    """Adapt the scene to 64-pixel images: show reach's goal as a 10 cm ball, and hide debug markers."""
    for index in range(model.nsite):
        if task.name == "reach" and model.site(index).name == "goal":
            model.site_size[index] = 0.05
        else:
            model.site_rgba[index, 3] = 0
    if task.name == "reach":
        for index in range(model.ngeom):
            if model.geom(index).name == "objGeom":  # the puck that reach never touches
                model.geom_rgba[index, 3] = 0
    model.vis.quality.offsamples = 0
    model.vis.quality.shadowsize = 0


def perform(
    env: Any, task: Task, view: View, spread: Spread, seed: int, renderer: mujoco.Renderer
) -> Demonstration | None:
    """Run the scripted expert from the layout of `seed`, and film it from `view`, moved within `spread`.

    Return None if the expert does not succeed before the last frame.
    """
    rng = np.random.default_rng([seed, 7])
    camera = place_camera(view.moved(spread, rng))
    env.seed(seed)
    observation, _ = env.reset()
    expert = ENV_POLICY_MAP[task.environment]()
    frames, states = [], []
    actions = np.zeros((FRAMES, STEPS_PER_FRAME, 4), np.float32)
    success_step = -1
    for step in range(FRAMES * STEPS_PER_FRAME):
        index, sub = divmod(step, STEPS_PER_FRAME)
        if sub == 0:
            frames.append(film(renderer, env.data, camera))
            states.append(observation[:4].astype(np.float32))
        if 0 <= success_step <= step - SETTLE_STEPS:
            command = np.array([0, 0, 0, actions.reshape(-1, 4)[step - 1, 3]])
        else:
            command = expert.get_action(observation)
            command[:3] += rng.normal(0, COMMAND_NOISE, 3)
        command = np.clip(command, -1, 1)
        actions[index, sub] = command
        observation, _, _, _, info = env.step(command)
        if success_step < 0 and info["success"]:
            success_step = step
    if not 0 <= success_step < (FRAMES - 1) * STEPS_PER_FRAME:
        return None
    return Demonstration(
        scene_prompt(task, view), task.name, view.name, seed, success_step, np.stack(frames), np.stack(states), actions
    )


def place_camera(view: View) -> mujoco.MjvCamera:
    """Return MuJoCo's camera at the view's position."""
    camera = mujoco.MjvCamera()
    camera.lookat[:] = LOOK_AT
    camera.azimuth, camera.elevation, camera.distance = view.azimuth, view.elevation, view.distance
    return camera


def film(renderer: mujoco.Renderer, data: Any, camera: mujoco.MjvCamera) -> np.ndarray:
    """Return one frame at half the renderer's size; averaging 2×2 pixels is the anti-aliasing."""
    renderer.update_scene(data, camera)
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    picture = renderer.render()
    height, width, _ = picture.shape
    blocks = picture.reshape(height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    return ((blocks.sum((1, 3)) + 2) // 4).astype(np.uint8)
