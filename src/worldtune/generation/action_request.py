"""The actions of a request: read them, check them against the model, and cut them into chunks.

Shapes: T rows (row t is the command after frame t), A numbers of a row, S of a state, J latent frames, I inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from worldtune.adapters.actions import form_of, owns_embedders
from worldtune.adapters.card import AdapterCard
from worldtune.core.actions import DEFAULT_GUIDANCE
from worldtune.core.actions.form import ActionForm, Array
from worldtune.core.files import digest_bytes
from worldtune.data.episode import Episode
from worldtune.data.sources import open_source
from worldtune.diffusion.action_embedder import ActionInputs
from worldtune.errors import DataError, RecipeError, first_line
from worldtune.models.vae.shapes import latent_frames
from worldtune.models.world import World

ACTIONS, STATES = "action", "observation.state"  # columns of a table, as LeRobot names them
FILES = "Give a .npz file with `actions`, a .parquet file with the column `action`, or DATASET#EPISODE."


@dataclass(frozen=True)
class GivenActions:
    """The actions of a video with the states at some of its frames, and their origin."""

    rows_TA: Array
    states_TS: Array | None
    where: str

    @property
    def digest(self) -> str:
        states = b"" if self.states_TS is None else self.states_TS.tobytes()
        return digest_bytes(str(self.rows_TA.shape).encode() + self.rows_TA.tobytes() + states)


@dataclass(frozen=True)
class VideoActions:
    """Actions that fit a model and a video of `frames` frames, and how strongly they guide."""

    form: ActionForm
    given: GivenActions
    strength: float

    def chunk(self, first: int, frames: int) -> ActionInputs:
        """Return the inputs, for one video, of the `frames` frames from frame `first` on.

        Beyond the last row the robot holds still. The first state is the given one, or predicted from the deltas.
        """
        rows_TA, states_TS = self.given.rows_TA, self.given.states_TS
        part_TA = rows_TA[first : first + frames - 1]
        if short := frames - 1 - len(part_TA):
            last_A = rows_TA[min(first, len(rows_TA)) - 1] if not len(part_TA) else part_TA[-1]
            part_TA = np.concatenate([part_TA, np.tile(self.form.space.hold(last_A), (short, 1))])
        state_S = None if states_TS is None or not self.form.state_size else states_TS[0]
        if states_TS is not None and first < len(states_TS) and state_S is not None:
            state_S = states_TS[first]
        elif first:
            state_S = self.form.next_state(rows_TA[:first], state_S)
        latents = latent_frames(frames)
        inputs_JI = torch.from_numpy(self.form.encode(part_TA, state_S, latents))
        given_J = torch.ones(latents)
        given_J[0] = 0.0
        return ActionInputs(inputs_JI[None], given_J[None])


def model_form(world: World, cards: Sequence[AdapterCard]) -> ActionForm | None:
    """Return the form in which a base with these adapters reads actions, None if it reads none."""
    if owns_embedders(world.denoiser):
        return form_of(world.denoiser)
    return next((card.actions for card in cards if card.actions is not None), None)


def resolve_actions(
    form: ActionForm | None, actions: str | None, strength: float | None, *, owned_by_base: bool, name: str
) -> VideoActions | None:
    """Return the actions of a request, or None without them.

    Raise RecipeError if a model that reads actions gets none, or the reverse; DataError for actions that cannot be read
    or do not fit the model.
    """
    if form is None:
        if actions is not None or strength:
            what = "neither the adapter nor the base reads actions"
            raise RecipeError(what, where=name, hint="Use an adapter trained with adapter.actions=true.")
        return None
    if actions is None:
        raise RecipeError("the model reads actions, but none are given", where=name, hint=FILES)
    given = read_actions(actions)
    first_S = None if given.states_TS is None else given.states_TS[0]
    form.check_rows(given.rows_TA, first_S, given.where)
    default = 0.0 if owned_by_base else DEFAULT_GUIDANCE
    return VideoActions(form, given, default if strength is None else strength)


def check_length(actions: VideoActions, frames: int) -> None:
    """Raise DataError unless there is a row between each two frames, with at most one more after the last."""
    rows = len(actions.given.rows_TA)
    if rows not in (frames - 1, frames):
        what = f"{rows} rows of actions do not fit a video of {frames} frames"
        hint = f"Give {frames - 1} rows (row t is the command after frame t), or set num_output_frames."
        raise DataError(what, where=actions.given.where, hint=hint)


def read_actions(text: str) -> GivenActions:
    """Return the actions in a .npz or .parquet file, or of an episode written as DATASET#EPISODE.

    Raise DataError if they cannot be read.
    """
    dataset, separator, episode = text.rpartition("#")
    if separator and not Path(text).exists():
        return _read_episode(dataset, episode)
    path = Path(text)
    if not path.is_file():
        raise DataError("no such file of actions", where=text, hint=FILES)
    if path.suffix == ".npz":
        return _given(*_read_npz(path), text)
    if path.suffix == ".parquet":
        return _given(*_read_table(path), text)
    raise DataError("not a file of actions", where=text, hint=FILES)


def _given(rows: np.ndarray, states: np.ndarray | None, where: str) -> GivenActions:
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "fiu":
        raise DataError(f"actions of shape {rows.shape} and type {rows.dtype} are not rows", where=where, hint=FILES)
    if states is not None:
        states = np.atleast_2d(states)
        if states.ndim != 2 or not states.size or states.dtype.kind not in "fiu":
            what = f"states of shape {states.shape} and type {states.dtype} are not rows"
            raise DataError(what, where=where, hint="Give one state, or one for each frame.")
        states = states.astype(np.float32)
    return GivenActions(rows.astype(np.float32), states, where)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with np.load(path) as arrays:
            return arrays["actions"], arrays.get("states")
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"the actions cannot be read: {first_line(error)}", where=str(path), hint=FILES) from error


def _read_table(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        table = pq.read_table(path)
        if "episode_index" in table.column_names and len(table["episode_index"].unique()) > 1:
            what = f"the table has {len(table['episode_index'].unique())} episodes"
            raise DataError(what, where=str(path), hint="Name one episode: DATASET#EPISODE.")
        states = np.array(table[STATES].to_pylist()) if STATES in table.column_names else None
        return np.array(table[ACTIONS].to_pylist()), states
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(f"the actions cannot be read: {first_line(error)}", where=str(path), hint=FILES) from error


def _read_episode(dataset: str, name: str) -> GivenActions:
    source = open_source(dataset)
    names = []
    for recording in source.recordings(source.cameras[:1]):
        names.append(recording.name)
        if recording.name == name and isinstance(recording, Episode):
            if recording.actions is None:
                raise DataError("the episode has no actions", where=f"{dataset}#{name}", hint=FILES)
            return _given(recording.actions, recording.states, f"{dataset}#{name}")
    hint = f"Its episodes are {', '.join(names[:3])}{' …' if len(names) > 3 else ''}."
    raise DataError(f"no usable episode '{name}'", where=dataset, hint=hint)
