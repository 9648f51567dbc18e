"""A closed-loop scene: give it the commands of one frame interval, and get the next frame and the hand's state.

Shapes: H, W pixels, C commands of one frame interval, D = 4 numbers of a command (dx, dy, dz, gripper in [-1, 1]),
S = 4 numbers of a state (hand x, y, z in meters, gripper opening).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

import mujoco
import numpy as np

from worldtune.sim.clip_format import STEPS_PER_FRAME, scene_prompt
from worldtune.sim.demonstration import Demonstration, film, open_scene, perform, place_camera
from worldtune.sim.tasks import Task
from worldtune.sim.views import FIXED, Spread, View

SIZE = 64
MOST_TRIES = 4  # seeds per demonstration before a task counts as one that its expert cannot do

Controller = Callable[[np.ndarray], np.ndarray]
"""The command (4,) of one control step, by the hand's state (4,) before it."""


@dataclass(frozen=True)
class SceneState:
    """What is seen at the end of a frame interval: frame uint8 (H, W, 3), state float32 (4,), success until now."""

    frame_HWC: np.ndarray
    state_S: np.ndarray
    success: bool


class Scene:
    """One task, seen from one view whose camera stands within `spread`; frames have `size`×`size` pixels.

    A seed determines layout and camera: `reset(seed)` and equal commands give equal frames and states, bit for bit.
    Close the scene, or use it as a context, to free the renderer.
    """

    def __init__(self, task: Task, view: View, spread: Spread = FIXED, size: int = SIZE) -> None:
        self.task, self.view, self.spread = task, view, spread
        self.prompt = scene_prompt(task, view)
        self._env = open_scene(task)
        self._renderer = mujoco.Renderer(self._env.model, size * 2, size * 2)
        self._camera = place_camera(view)
        self._observation = np.zeros(0)
        self._success = False

    def __enter__(self) -> "Scene":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._renderer.close()

    def reset(self, seed: int) -> SceneState:
        """Start the layout of `seed`, as `perform` does."""
        self._camera = place_camera(self.view.moved(self.spread, np.random.default_rng([seed, 7])))
        self._env.seed(seed)
        self._observation, _ = self._env.reset()
        self._success = False
        return self._see()

    def step(self, commands_CD: np.ndarray) -> SceneState:
        """Execute the commands of one frame interval, clipped to [-1, 1]. Raise ValueError if they are not (5, 4)."""
        if commands_CD.shape != (STEPS_PER_FRAME, 4):
            raise ValueError(f"a frame interval has commands of shape ({STEPS_PER_FRAME}, 4), not {commands_CD.shape}")
        rows = iter(commands_CD)
        return self.control(lambda state_S: next(rows))

    def control(self, controller: Controller) -> SceneState:
        """Execute one frame interval whose commands `controller` chooses at each control step."""
        for _ in range(STEPS_PER_FRAME):
            command = controller(self._observation[:4].astype(np.float32))
            self._observation, _, _, _, info = self._env.step(np.clip(command, -1, 1))
            self._success = self._success or bool(info["success"])
        return self._see()

    def demonstrate(self, seeds: Iterable[int], count: int) -> list[Demonstration]:
        """Return the first `count` successful demonstrations of the scripted expert over `seeds`.

        Raise RuntimeError if the expert does not succeed on one of four layouts.
        """
        found: list[Demonstration] = []
        for tries, seed in enumerate(seeds, 1):
            demo = perform(self._env, self.task, self.view, self.spread, seed, self._renderer)
            found += [demo] if demo is not None else []
            if len(found) == count:
                return found
            if tries >= MOST_TRIES * count:
                break
        raise RuntimeError(f"{self.task.name}: the expert succeeds on {len(found)} of {tries} layouts")

    def _see(self) -> SceneState:
        frame_HWC = film(self._renderer, self._env.data, self._camera)
        return SceneState(frame_HWC, self._observation[:4].astype(np.float32), self._success)
