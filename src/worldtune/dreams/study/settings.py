"""The settings of a study, from which every result follows."""

import copy
from collections.abc import Sequence
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from worldtune.core.settings import StrictModel, parse_model
from worldtune.policy.spec import PolicySpec
from worldtune.training.recipe import apply_override

Target = Literal["camera", "known", "task"]
Arm = Literal[
    "real-once", "real", "real-x2", "real-x4", "base", "lora", "dora", "filtered", "shuffled", "codec-idm", "video-idm",
    "oracle",
]  # fmt: skip
ARMS: tuple[Arm, ...] = get_args(Arm)
BOUNDS: tuple[Arm, ...] = ("real", "oracle")
"""The arms that are run first: without room between them, dreams cannot show anything."""
MORE_REAL: dict[Arm, int] = {"real-x2": 2, "real-x4": 4}
"""How many times more real demonstrations an arm has: they tell what dreams are worth."""
NEW_CAMERA_TASKS = (
    "plate-slide", "button-press", "coffee-button", "drawer-open", "reach", "window-open", "handle-press", "door-open",
)  # fmt: skip


class StudySettings(StrictModel):
    """What is compared, and how often.

    target: a new `camera`, a `known` camera, or a new `task`; it only names the study. view: the camera. tasks: the
    tasks whose policies are measured. adapter_tasks: the tasks whose demonstrations train adapter and inverse dynamics;
    they include `tasks`. demonstrations: of each task in a draw (K). dreams: first frames of each task. draws: sets of
    demonstrations, each with its own adapter, inverse dynamics and dreams. policy_seeds: policies of each arm and draw.
    resets: evaluations of each policy, the same for all. min_room: the success between real and oracle below which a
    task is not tested. recipe, overrides: how adapter and inverse dynamics are trained.
    """

    target: Target = "camera"
    view: str = "top"
    tasks: tuple[str, ...] = Field(("button-press", "coffee-button", "plate-slide"), min_length=1)
    adapter_tasks: tuple[str, ...] = NEW_CAMERA_TASKS
    demonstrations: int = Field(5, ge=1)
    dreams: int = Field(48, ge=2)
    draws: int = Field(3, ge=1)
    policy_seeds: int = Field(2, ge=1)
    resets: int = Field(40, ge=2)
    min_room: float = Field(0.3, ge=0, le=1)
    arms: tuple[Arm, ...] = ARMS
    recipe: str = "pocket-dreams"
    overrides: tuple[str, ...] = ()
    policy: PolicySpec = Field(default_factory=PolicySpec)
    steps: int = Field(12, ge=1, description="evaluations of the denoiser for a dream")

    @model_validator(mode="after")
    def _check_tasks(self) -> "StudySettings":
        if missing := [task for task in self.tasks if task not in self.adapter_tasks]:
            raise ValueError(f"adapter_tasks lacks {missing[0]}, whose policy is measured")
        return self

    @model_validator(mode="after")
    def _check_arms(self) -> "StudySettings":
        if missing := [arm for arm in BOUNDS if arm not in self.arms]:
            raise ValueError(f"arms lacks {missing[0]}: without it nothing can be concluded")
        if "lora" not in self.arms and {"filtered", "shuffled"} & set(self.arms):
            raise ValueError("filtered and shuffled use the dreams of lora: add it to arms")
        return self

    @property
    def most_demonstrations(self) -> int:
        """The most demonstrations of a task that an arm of a draw uses."""
        return self.demonstrations * max(MORE_REAL.get(arm, 1) for arm in self.arms)

    @property
    def dream_arms(self) -> tuple[Arm, ...]:
        """The arms that need dreams of their own."""
        return tuple(arm for arm in self.arms if arm in ("base", "lora", "dora"))


CONTACT_GAIN = 60.0
TARGETS: dict[str, dict[str, Any]] = {
    "camera": {},
    "known": {"view": "left", "demonstrations": 2},
    "task": {
        "view": "left",
        "tasks": ["handle-press-side"],
        "adapter_tasks": ["handle-press-side", *NEW_CAMERA_TASKS],
        "policy": {"gain": CONTACT_GAIN},  # a handle gives way only to a firm push
    },
}
SMOKE: dict[str, Any] = {
    "adapter_tasks": ["plate-slide", "button-press"],
    "tasks": ["plate-slide"],
    "dreams": 8,
    "draws": 1,
    "policy_seeds": 1,
    "resets": 10,
    "min_room": 0.0,
    "arms": ["real", "lora", "shuffled", "oracle"],
    "overrides": ["train.steps=60", "validate.every=60", "idm.steps=60", "idm.members=2"],
    "policy": {"steps": 200},
}
"""Settings that try every stage in minutes, and prove nothing."""


def study_settings(target: Target, changes: Sequence[str], *, smoke: bool) -> StudySettings:
    """Return the settings of a target with changes such as "draws=1" or "policy.gain=40".

    Raise RecipeError if a key is unknown or a value is wrong.
    """
    data: dict[str, Any] = {"target": target} | TARGETS.get(target, {}) | (SMOKE if smoke else {})
    data = copy.deepcopy(data)
    for change in changes:
        apply_override(data, change)
    where = f"the study of target {target}"
    return parse_model(StudySettings, data, f"{where} with {', '.join(changes)}" if changes else where)
