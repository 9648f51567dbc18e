"""The interface of a model that labels dreams: an inverse dynamics model has it.

Shapes: T frames, H×W pixels, C colors, S numbers of a state.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from worldtune.core.actions.space import ActionSpace
from worldtune.dreams.idm.labels import Labels

Array = npt.NDArray[np.float32]


class LabelerCard(Protocol):
    """What a labeler was trained on, as in the card of an inverse dynamics model."""

    @property
    def name(self) -> str: ...
    @property
    def base(self) -> str: ...
    @property
    def codec_digest(self) -> str: ...
    @property
    def state_names(self) -> tuple[str, ...]: ...
    @property
    def action_space(self) -> ActionSpace: ...
    @property
    def action_size(self) -> int: ...
    @property
    def cameras(self) -> tuple[str, ...]: ...
    @property
    def fps(self) -> float: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...


class Labeler(Protocol):
    """An inverse dynamics model; `digest` covers its weights and its card."""

    @property
    def digest(self) -> str: ...
    @property
    def card(self) -> LabelerCard: ...

    def label(self, frames_THWC: npt.NDArray[np.uint8], start_S: Array | None) -> Labels: ...
