"""Best of n: the same request with n seeds, the one kept that a critic likes best.

Source: github.com/nvidia-cosmos/cosmos-predict2 (`video2world_bestofn`); the critic is the user's own.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from math import isfinite

import numpy as np

from worldtune.errors import UserError
from worldtune.generation.resolve import Resolved

Critic = Callable[[np.ndarray, str], float]
"""(uint8 frames_THWC, prompt) → a score, higher is better."""


def load_critic(name: str) -> Critic:
    """The function of `package.module:function`. Raises UserError when there is none."""
    module, colon, function = name.partition(":")
    try:
        critic = getattr(import_module(module), function) if colon else None
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # the last two: an empty or relative module
        raise UserError(f"there is no critic: {error}", where=name, mend="Write package.module:function.") from error
    if not callable(critic):
        raise UserError("this is no function", where=name, mend="Write package.module:function.")
    return critic


def best_of(
    resolved: Resolved, count: int, critic: Critic, make: Callable[[Resolved], np.ndarray]
) -> tuple[Resolved, np.ndarray, dict[int, float]]:
    """The winner's request and frames_THWC, and the score of every seed from the request's own on."""
    scores: dict[int, float] = {}
    best: tuple[Resolved, np.ndarray] | None = None
    for seed in range(resolved.request.seed, resolved.request.seed + count):
        asked = replace(resolved, request=resolved.request.model_copy(update={"seed": seed}))
        frames_THWC = make(asked)
        score = float(critic(frames_THWC, resolved.prompt))
        if not isfinite(score):
            what = f"the critic gives {score} for seed {seed}"
            raise UserError(what, where=resolved.request.name, mend="Let it return a number for every video.")
        if best is None or score > max(scores.values()):
            best = asked, frames_THWC
        scores[seed] = score
    if best is None:
        raise ValueError("best of none")
    return *best, scores
