"""The clips and noise draws of each step, prepared in the background while the previous step is computed.

Shapes: C latent channels, T latent frames, H×W latent pixels, B clips, N text tokens, D text width.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from worldtune.diffusion.action_embedder import ActionInputs
from worldtune.latents.action_batch import clip_actions
from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.latents.mixture import Mixture
from worldtune.training.data.action_conditioning import dropped_actions
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.data.sampling_noise import NoiseDraws, training_draws
from worldtune.training.recipe import Recipe


class MicroBatch(NamedTuple):
    """Clips of a step that are computed at once; text_BND is that of no prompt for clips with a dropped prompt.

    `actions` are those of the clips, not given for clips with dropped actions; None if the model reads none.
    """

    clips: list[LatentClip]
    z_BCTHW: Tensor
    text_BND: Tensor
    draws: NoiseDraws
    actions: ActionInputs | None = None


class Batches:
    """The micro-batches of this process: `of(step)` returns those of a step, and prepares the next step's.

    `places` are the positions of this process's clips in the batch. `waited` counts the seconds of waiting after the
    first step.
    """

    def __init__(self, data: TrainingData, recipe: Recipe, shift: float | None, places: Sequence[int]) -> None:
        self._data, self._recipe, self._shift, self._places = data, recipe, shift, places
        self._pools, shares = zip(*data.pools(recipe), strict=True)
        self._mixture = Mixture([len(pool) for pool in self._pools], shares, recipe.train.seed)
        self._thread = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[list[MicroBatch]]] | None = None
        self.waited = 0.0

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)

    def of(self, step: int) -> list[MicroBatch]:
        """Return this process's micro-batches of a step. Raise DataError if a latent or text is missing or damaged."""
        if self._next is None or self._next[0] != step:
            micro_batches = self._prepare(step)
        else:
            started = time.perf_counter()
            micro_batches = self._next[1].result()
            self.waited += time.perf_counter() - started
        self._next = None
        if step + 1 < self._recipe.train.steps:
            self._next = step + 1, self._thread.submit(self._prepare, step + 1)
        return micro_batches

    def _prepare(self, step: int) -> list[MicroBatch]:
        size = self._recipe.machine.micro_batch or len(self._places)
        return [self._micro_batch(step, self._places[i : i + size]) for i in range(0, len(self._places), size)]

    def _micro_batch(self, step: int, places: Sequence[int]) -> MicroBatch:
        samples = (self._mixture[step * self._recipe.train.batch + place] for place in places)
        clips = [self._pools[dataset][clip] for dataset, clip in samples]
        z_BCTHW, text_BND = load_batch(clips)
        draws = training_draws(self._recipe.train, self._shift, step, z_BCTHW.shape[1:], places)
        text_BND = torch.where(draws.dropped_B[:, None, None], self._data.no_text_1ND, text_BND)
        actions = clip_actions(self._data.action_form, clips, z_BCTHW.shape[2])
        if actions is not None:
            actions = actions.without(dropped_actions(self._recipe.train, step, places))
        return MicroBatch(clips, z_BCTHW, text_BND, draws, actions)
