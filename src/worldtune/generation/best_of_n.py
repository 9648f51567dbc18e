"""Best of n: generate a request with n seeds and keep the video that a critic scores highest.

Source: github.com/nvidia-cosmos/cosmos-predict2 (`video2world_bestofn`); the critic is the user's own.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from math import isfinite

import numpy as np

from worldtune.errors import UserError
from worldtune.generation.validate_request import Resolved

Critic = Callable[[np.ndarray, str], float]
"""(uint8 frames_THWC, prompt) → a score, higher is better."""


def load_critic(name: str) -> Critic:
    """Return the function named `package.module:function`. Raise UserError if it does not exist."""
    module, colon, function = name.partition(":")
    try:
        critic = getattr(import_module(module), function) if colon else None
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # the last two: an empty or relative module
        what = f"cannot import the critic: {error}"
        raise UserError(what, where=name, hint="Write package.module:function.") from error
    if not callable(critic):
        raise UserError("the critic is not a function", where=name, hint="Write package.module:function.")
    return critic


def best_of(
    resolved: Resolved, count: int, critic: Critic, make: Callable[[Resolved], np.ndarray]
) -> tuple[Resolved, np.ndarray, dict[int, float]]:
    """Return the winner's request and frames_THWC, and the score of each of `count` seeds.

    The first seed is the request's own. Raise UserError for a score that is NaN or infinite.
    """
    scores: dict[int, float] = {}
    best: tuple[Resolved, np.ndarray] | None = None
    for seed in range(resolved.request.seed, resolved.request.seed + count):
        seeded = replace(resolved, request=resolved.request.model_copy(update={"seed": seed}))
        frames_THWC = make(seeded)
        score = float(critic(frames_THWC, resolved.prompt))
        if not isfinite(score):
            what = f"the critic gives {score} for seed {seed}"
            raise UserError(what, where=resolved.request.name, hint="Return a finite number for every video.")
        if best is None or score > max(scores.values()):
            best = seeded, frames_THWC
        scores[seed] = score
    if best is None:
        raise ValueError("count must be at least 1")
    return *best, scores
