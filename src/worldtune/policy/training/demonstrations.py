"""Demonstrations of the simulator's scripted experts, as training episodes."""

from typing import TYPE_CHECKING

from worldtune.policy.episode import TrainingEpisode

if TYPE_CHECKING:
    from worldtune.sim.demonstration import Demonstration


def training_episode(demo: "Demonstration") -> TrainingEpisode:
    """Return the demonstration with the mean command of each frame interval."""
    name = f"{demo.task}/{demo.view}/{demo.seed}"
    return TrainingEpisode(name, demo.prompt, demo.frames, demo.states, demo.actions.mean(1))
