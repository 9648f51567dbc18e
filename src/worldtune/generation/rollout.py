"""An action-conditioned model as a simulator: frames and actions in, the next frames out.

Shapes: T frames, N rows of actions, H×W pixels, C colors, A numbers of a row, S of a state.
"""

from pathlib import Path

import numpy as np

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.folder import load_adapter, remove_adapter
from worldtune.core.actions import DEFAULT_GUIDANCE
from worldtune.core.progress import Progress, silent
from worldtune.data.video.decode import fit_frame
from worldtune.errors import DataError, RecipeError
from worldtune.generation.action_request import GivenActions, VideoActions, model_form
from worldtune.generation.chunk import ChunkSampling, ChunkSize, make_chunk, with_actions
from worldtune.generation.long_video import count_chunks, make_long
from worldtune.generation.sampler import Guidance
from worldtune.models.world import World

STEPS = 12


class Rollout:
    """A base with an adapter that reads actions, opened once for many calls.

    The adapter stays on `world` until `close`. `prompt` None means no text. With the `digest` of its card's bytes
    exactly that adapter is loaded. Raise RecipeError if the model reads no actions, AdapterError if the adapter does
    not fit the base.
    """

    def __init__(
        self,
        world: World,
        adapter: Path | None,
        *,
        prompt: str | None = None,
        steps: int = STEPS,
        action_guidance: float | None = None,
        digest: str | None = None,
    ) -> None:
        self._world = world
        remove_adapter(world.denoiser)
        self.card: AdapterCard | None = None
        if adapter is not None:
            self.card = load_adapter(adapter, world.denoiser, world.card.digest, digest)
        form = model_form(world, [self.card] if self.card else [])
        if form is None:
            remove_adapter(world.denoiser)
            what = "neither the adapter nor the base reads actions"
            raise RecipeError(what, where=str(adapter), hint="Use an adapter trained with adapter.actions=true.")
        self.form = form
        owned = self.card is None or self.card.embedder_digest is None
        self._strength = (0.0 if owned else DEFAULT_GUIDANCE) if action_guidance is None else action_guidance
        self._evaluations = world.card.schedule.evaluations(steps)
        text_1ND = world.no_text() if prompt is None else world.encode_prompts([prompt])
        self._guidance = Guidance(text_1ND, text_1ND, 0.0)
        self._size = self._trained_size()

    def _trained_size(self) -> ChunkSize:
        base, card = self._world.card, self.card
        if card and card.frames and card.height and card.width:
            return ChunkSize(card.frames, card.height, card.width)
        return ChunkSize(base.frames, base.height, base.width)

    def __call__(
        self,
        frames_THWC: np.ndarray,
        actions_NA: np.ndarray,
        states: np.ndarray | None = None,
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> np.ndarray:
        """Return uint8 frames_NHWC: one after each row of `actions_NA`, continuing the last of `frames_THWC`.

        `states` is the state at the last given frame (S,), or one row for it and each later frame (N, S). Sequences
        longer than a chunk of the model continue chunk by chunk from the last generated frame, with seed + 1, …
        Raise DataError if frames, actions or states do not fit the model.
        """
        start_HWC = self._start(frames_THWC)
        states_TS = None if states is None else np.atleast_2d(np.asarray(states, dtype=np.float32))
        given = GivenActions(np.asarray(actions_NA, dtype=np.float32), states_TS, "rollout")
        self.form.check_rows(given.rows_TA, None if states_TS is None else states_TS[0], given.where)
        if not len(given.rows_TA):
            raise DataError("no actions are given", where="rollout", hint="Give one row for each frame to generate.")
        actions = VideoActions(self.form, given, self._strength)
        frames, chunk = len(given.rows_TA) + 1, self._size.frames
        chunks = count_chunks(frames, chunk, 1)

        def make(given_THWC: np.ndarray | None, number: int) -> np.ndarray:
            guidance = with_actions(self._guidance, actions, number * (chunk - 1), chunk, self._world)
            sampling = ChunkSampling(guidance, self._evaluations, seed + number, "torch", "rollout")
            done = make_chunk(
                self._world, self._size, start_HWC[None] if given_THWC is None else given_THWC, sampling, silent
            )
            progress(number + 1, chunks)
            return done

        return make_long(frames, chunk, 1, make)[1:]

    def _start(self, frames_THWC: np.ndarray) -> np.ndarray:
        last = frames_THWC[-1] if frames_THWC.ndim == 4 and len(frames_THWC) else frames_THWC
        if last.ndim != 3 or last.shape[2] != 3 or last.dtype != np.uint8:
            what = f"frames are {frames_THWC.dtype} of shape {frames_THWC.shape}, not uint8 RGB"
            raise DataError(what, where="rollout", hint="Give one frame (H, W, 3) or several (T, H, W, 3).")
        fit = (self.card and self.card.fit) or "cover"
        return fit_frame(last, self._size.height, self._size.width, fit)

    def close(self) -> None:
        """Remove the adapter from the base."""
        remove_adapter(self._world.denoiser)
