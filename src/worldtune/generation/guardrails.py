"""NVIDIA's guardrails (package `cosmos-guardrail`), and a record of what they really checked.

The NVIDIA Open Model License ends when its guardrails are switched off without a substantially similar one: it is
said whenever they are. Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py` (how the checker is called).

Shapes: T frames, H×W pixels, C colours.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from worldtune.errors import UserError

Guardrails = Literal["required", "available", "off"]
PACKAGE = "cosmos_guardrail"
CONDITION = (
    "guardrails are off: the NVIDIA Open Model License asks for them, or for ones substantially similar, "
    "with NVIDIA's models"
)


class Guard:
    """The checker of the package, or none."""

    def __init__(self, checker: Any | None) -> None:
        self.checker = checker

    @property
    def checks(self) -> tuple[str, ...]:
        """What every prompt and every video goes through."""
        return ("text: cosmos-guardrail", "video: cosmos-guardrail") if self.checker is not None else ()

    def check_prompt(self, prompt: str, name: str) -> None:
        """Raises UserError when the checker refuses the prompt."""
        if self.checker is not None and not self.checker.check_text_safety(prompt):
            raise UserError("the guardrails refuse this prompt", where=name, mend="Ask for something else.")

    def check_video(self, frames_THWC: np.ndarray, name: str) -> np.ndarray:
        """The video as the checker gives it back, faces blurred. Raises UserError when it refuses it."""
        if self.checker is None:
            return frames_THWC
        checked = self.checker.check_video_safety(frames_THWC)
        if checked is None:
            raise UserError("the guardrails refuse this video", where=name, mend="Ask for something else.")
        return np.asarray(checked, np.uint8)


def open_guard(wanted: Guardrails) -> Guard:
    """The guard that is wanted. Raises UserError when it is required and its package is not installed."""
    if wanted == "off" or (wanted == "available" and find_spec(PACKAGE) is None):
        return Guard(None)
    if find_spec(PACKAGE) is None:
        raise UserError("cosmos-guardrail is not installed", where="--guardrails", mend="pip install cosmos-guardrail.")
    return Guard(import_module(PACKAGE).CosmosSafetyChecker())
