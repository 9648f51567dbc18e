"""The form in which a model reads actions: per latent frame, the rows of `action` between its frames.

Row t of `action` is the command after frame t. A latent frame j ≥ 1 covers the video frames 4(j−1)+1 … 4j, so its rows
are 4(j−1) … 4j−1, as in NVIDIA's action-conditioned Predict 2.5. A model cannot see where the robot stands from
deltas alone: worldtune's own form adds the running sum of the deltas at these four frames, and the first state.

Shapes: T video frames, J latent frames, A numbers of a row, S of a state, D summed deltas, I inputs of a latent frame.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from worldtune.core.actions.space import ActionSpace
from worldtune.core.settings import StrictModel
from worldtune.errors import DataError

Array = npt.NDArray[np.float32]
ROWS = 4  # of `action` per latent frame: the VAE's temporal compression
FAR = 4.0  # times the largest distance from the mean in training: actions beyond it are of another kind
SMALLEST_STD = 1e-6


class Statistics(StrictModel):
    """Mean and standard deviation of each column, and the largest |z| that training saw."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    largest: tuple[float, ...]

    @classmethod
    def of(cls, rows_NK: npt.NDArray[np.floating]) -> "Statistics":
        """Return the statistics of the columns; a constant column has standard deviation 1."""
        rows_NK = rows_NK.astype(np.float64)
        mean_K, std_K = rows_NK.mean(0), rows_NK.std(0)
        std_K[std_K < SMALLEST_STD] = 1.0
        largest_K = np.abs((rows_NK - mean_K) / std_K).max(0)
        return cls(mean=tuple(mean_K.tolist()), std=tuple(std_K.tolist()), largest=tuple(largest_K.tolist()))

    def standardize(self, rows_NK: Array) -> Array:
        """Return the rows with mean 0 and standard deviation 1."""
        return ((rows_NK - np.array(self.mean)) / np.array(self.std)).astype(np.float32)

    def check(self, rows_NK: Array, what: str, where: str) -> None:
        """Raise DataError if a value is not finite, or much farther from the mean than any in training."""
        if not np.isfinite(rows_NK).all():
            raise DataError(f"{what} contains NaN or infinity", where=where, hint="Remove these rows.")
        z_K = np.abs(self.standardize(rows_NK)).max(0, initial=0.0)
        far_K = z_K > FAR * np.maximum(np.array(self.largest), 1.0)
        if far_K.any():
            column = int(np.argmax(far_K))
            fault = (
                f"column {column} of {what} reaches {np.abs(rows_NK[:, column]).max():.3g}, {z_K[column]:.0f} standard "
                f"deviations from the mean of the training data (there {self.largest[column]:.1f} at most)"
            )
            raise DataError(fault, where=where, hint="Use the units and the dataset that the adapter was trained on.")


class ActionForm(StrictModel):
    """How a model reads actions: their space, their statistics in training, and what else it reads.

    `hidden` is the width of the embedder. `sums` are the statistics of the running sums, None if there are none;
    `states` those of the states, None if the model reads no first state. `gain` is how far a state column moves per
    unit of its summed deltas, measured in training; it predicts the first state of a later part of a long video.
    """

    space: ActionSpace
    hidden: int = Field(256, ge=1)
    actions: Statistics
    sums: Statistics | None = None
    states: Statistics | None = None
    gain: tuple[float, ...] = ()

    @property
    def action_size(self) -> int:
        return len(self.actions.mean)

    @property
    def state_size(self) -> int:
        return len(self.states.mean) if self.states else 0

    @property
    def inputs(self) -> int:
        """The number of inputs of a latent frame."""
        sums = len(self.sums.mean) if self.sums else 0
        return ROWS * (self.action_size + sums) + self.state_size

    def encode(self, actions_TA: Array, state_S: Array | None, latents: int) -> Array:
        """Return the inputs (J, I) of `latents` latent frames; those of latent frame 0 are zero.

        Only the rows between the frames are read. The actions must have passed `check`.
        """
        rows_TA = actions_TA[: ROWS * (latents - 1)]
        parts = [self.actions.standardize(rows_TA).reshape(latents - 1, -1)]
        if self.sums:
            parts.append(self.sums.standardize(self.space.summed(rows_TA)).reshape(latents - 1, -1))
        if self.states:
            assert state_S is not None
            parts.append(np.repeat(self.states.standardize(state_S[None]), latents - 1, 0))
        inputs_JI = np.concatenate(parts, 1, dtype=np.float32)
        return np.concatenate([np.zeros_like(inputs_JI[:1]), inputs_JI])

    def check(self, actions_TA: Array, state_S: Array | None, frames: int, where: str) -> None:
        """Raise DataError unless the actions and the first state fit this form and a video of `frames` frames."""
        self.check_rows(actions_TA, state_S, where)
        if len(actions_TA) not in (frames - 1, frames):
            what = f"{len(actions_TA)} rows of actions do not fit a video of {frames} frames"
            hint = f"Give {frames - 1} rows: row t is the command after frame t."
            raise DataError(what, where=where, hint=hint)

    def check_rows(self, actions_TA: Array, state_S: Array | None, where: str) -> None:
        """Raise DataError unless the actions, of any number of rows, and the first state fit this form."""
        if actions_TA.ndim != 2 or actions_TA.shape[1] != self.action_size:
            what = f"actions of shape {actions_TA.shape} are not rows of {self.action_size} numbers"
            hint = f"The model reads {self.space.commands_per_frame} commands a frame as {self.action_size} numbers."
            raise DataError(what, where=where, hint=hint)
        self.actions.check(actions_TA, "the actions", where)
        if self.states is None:
            return
        if state_S is None:
            raise DataError("the first state is missing", where=where, hint="Give states: the model reads the first.")
        if state_S.shape != (self.state_size,):
            what = f"a state of shape {state_S.shape} is not {self.state_size} numbers"
            raise DataError(what, where=where, hint="Use the states of the training data.")
        self.states.check(state_S[None], "the first state", where)

    def next_state(self, actions_TA: Array, state_S: Array | None) -> Array | None:
        """Return the state predicted after all rows: the first state plus the summed deltas, times their gain."""
        columns = self.space.state_columns
        if state_S is None or columns is None or not self.gain or not len(actions_TA):
            return state_S
        moved, total_D = state_S.copy(), self.space.summed(actions_TA)[-1]
        for column, total, gain in zip((c for c in columns if c is not None), total_D, self.gain, strict=True):
            moved[column] += gain * total
        return moved


def fit_form(space: ActionSpace, recorded: Sequence[tuple[Array, Array | None]], where: str) -> ActionForm:
    """Return worldtune's own form for clips of (actions_TA, states_TS), with the statistics of all of them.

    Raise DataError if the clips do not have the same columns, or do not divide into the space's commands.
    """
    sizes = {(actions.shape[1], 0 if states is None else states.shape[1]) for actions, states in recorded}
    if len(sizes) != 1:
        found = ", ".join(f"{actions} and {states}" for actions, states in sorted(sizes))
        what = f"clips have different numbers of action and state columns: {found}"
        raise DataError(what, where=where, hint="Train on datasets of one action space.")
    size = space.command_size(next(iter(sizes))[0], where)
    rows = np.concatenate([actions[:-1] for actions, _ in recorded])
    sums = [space.summed(actions[:-1]) for actions, _ in recorded] if space.delta_numbers(size) else []
    states = [states for _, states in recorded if states is not None]
    if states and space.state_columns is not None:
        _check_columns(space, states[0].shape[1], where)
    return ActionForm(
        space=space,
        actions=Statistics.of(rows),
        sums=Statistics.of(np.concatenate(sums)) if sums else None,
        states=Statistics.of(np.concatenate(states)) if states else None,
        gain=_gains(space, sums, states),
    )


def _check_columns(space: ActionSpace, state_size: int, where: str) -> None:
    outside = [c for c in space.state_columns or () if c is not None and not 0 <= c < state_size]
    if outside:
        what = f"action_space.state_columns names column {outside[0]}, but a state has {state_size} numbers"
        raise DataError(what, where=where, hint=f"Name columns 0 to {state_size - 1}.")


def _gains(space: ActionSpace, sums: Sequence[Array], states: Sequence[Array]) -> tuple[float, ...]:
    """Return the least-squares slope of each changed state column's displacement over its summed deltas."""
    if not sums or not states or space.state_columns is None:
        return ()
    columns = [c for c in space.state_columns if c is not None]
    moved_ND = np.concatenate([(s[1:] - s[:1])[:, columns] for s in states]).astype(np.float64)
    sums_ND = np.concatenate(sums).astype(np.float64)
    square_D = np.square(sums_ND).sum(0)
    return tuple(((sums_ND * moved_ND).sum(0) / np.where(square_D > 0, square_D, 1.0)).tolist())
