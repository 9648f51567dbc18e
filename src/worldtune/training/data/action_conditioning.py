"""Actions in training: the form of a run, and which clips are trained without their actions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worldtune.adapters.actions import form_of, owns_embedders
from worldtune.core.actions.form import ActionForm, fit_form
from worldtune.core.seeds import derive_seed
from worldtune.data.clip import Clip
from worldtune.errors import DataError, RecipeError
from worldtune.latents.action_batch import check_consecutive
from worldtune.models.world import World
from worldtune.training.recipe import Recipe, Train


def run_form(world: World, recipe: Recipe, train: Mapping[str, Sequence[Clip]]) -> ActionForm | None:
    """Return the form in which the run's model reads actions, None if it reads none.

    It has the statistics of all training clips whose dataset declares an action space; `train` has the clips of each
    dataset. A base that is conditioned on actions has its own form. Raise RecipeError if the datasets declare different
    spaces, DataError if a clip of a declared dataset has no actions or skips frames.
    """
    if not recipe.adapter.actions:
        if owns_embedders(world.denoiser):
            what = "this base reads actions, but the recipe gives it none"
            raise RecipeError(what, where=recipe.base, hint="Write adapter.actions=true and data.action_space.")
        return None
    declared = {name: spec.action_space for name, spec in recipe.datasets.items() if spec.action_space is not None}
    if "data" not in declared:
        what = "adapter.actions needs data.action_space: what the numbers of `action` mean"
        raise RecipeError(what, where=recipe.name, hint="Write data.action_space={kind: delta} or {kind: absolute}.")
    for name, space in declared.items():
        if space != declared["data"]:
            what = f"{name} declares another action space than data"
            raise RecipeError(what, where=recipe.name, hint="Train on datasets of one action space.")
    clips = [clip for name in declared for clip in train.get(name, ())]
    for clip in clips:
        if clip.actions is None:
            hint = "Remove action_space from this dataset, or name its columns in data.action."
            raise DataError(f"clip {clip.name} has no actions", where=clip.source, hint=hint)
        check_consecutive(clip)
    if owns_embedders(world.denoiser) and (own := form_of(world.denoiser)):
        for clip in clips:
            if clip.actions is not None:
                own.check_rows(clip.actions, None, f"clip {clip.name}")
        return own
    recorded = [(clip.actions, clip.states) for clip in clips if clip.actions is not None]
    return fit_form(declared["data"], recorded, recipe.data.path)


def with_declared_actions(clips: Sequence[Clip], declared: bool) -> list[Clip]:
    """Return the clips, without their actions unless their dataset declares an action space."""
    return list(clips) if declared else [replace(clip, actions=None) for clip in clips]


def dropped_actions(settings: Train, step: int, places: Sequence[int]) -> Tensor:
    """Return dropped_B: which clips of a step are trained without their actions, from (seed, step) alone."""
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, step, "actions"))
    return (torch.rand(settings.batch, generator=generator) < settings.action_dropout)[list(places)]
