"""NVIDIA's guardrails (package `cosmos-guardrail`), and a record of the checks that ran.

The NVIDIA Open Model License ends when its guardrails are switched off without a substantially similar one, so every
run without guardrails warns. Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py` (call of the checker).

Shapes: T frames, H×W pixels, C colors.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from worldtune.errors import UserError

Guardrails = Literal["required", "available", "off"]
PACKAGE = "cosmos_guardrail"
CONDITION = (
    "guardrails are off: the NVIDIA Open Model License requires them, or substantially similar ones, "
    "for NVIDIA's models"
)


class Guard:
    """The package's checker, or None: then nothing is checked."""

    def __init__(self, checker: Any | None) -> None:
        self.checker = checker

    @property
    def checks(self) -> tuple[str, ...]:
        """The names of the checks that run on every prompt and video."""
        return ("text: cosmos-guardrail", "video: cosmos-guardrail") if self.checker is not None else ()

    def check_prompt(self, prompt: str, name: str) -> None:
        """Raise UserError if the checker refuses the prompt."""
        if self.checker is not None and not self.checker.check_text_safety(prompt):
            raise UserError("the guardrails reject this prompt", where=name, hint="Change the prompt.")

    def check_video(self, frames_THWC: np.ndarray, name: str) -> np.ndarray:
        """Return the video with faces blurred by the checker. Raise UserError if the checker refuses it."""
        if self.checker is None:
            return frames_THWC
        checked = self.checker.check_video_safety(frames_THWC)
        if checked is None:
            raise UserError("the guardrails reject this video", where=name, hint="Change the request.")
        return np.asarray(checked, np.uint8)


def open_guard(wanted: Guardrails) -> Guard:
    """Return the guard. Raise UserError if guardrails are required and their package is not installed."""
    if wanted == "off" or (wanted == "available" and find_spec(PACKAGE) is None):
        return Guard(None)
    if find_spec(PACKAGE) is None:
        hint = "Run: pip install cosmos-guardrail."
        raise UserError("cosmos-guardrail is not installed", where="--guardrails", hint=hint)
    return Guard(import_module(PACKAGE).CosmosSafetyChecker())
