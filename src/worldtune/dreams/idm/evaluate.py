"""Measure an IDM on clips whose commands and states are known: as recorded, and after the base's video codec."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from worldtune.data.clip import Clip, read_clip
from worldtune.data.dataset import open_dataset
from worldtune.data.spec import DataSpec
from worldtune.dreams.idm.examples import Frames, command_of, through_codec
from worldtune.dreams.idm.figures import KnownVideo, measure
from worldtune.dreams.idm.model import InverseDynamics, load_idm
from worldtune.errors import DataError
from worldtune.latents.store import LatentStore, default_store
from worldtune.models.load import open_world_on
from worldtune.models.world import World
from worldtune.training.recipe import load_recipe


def evaluate_idm(idm: Path, data: str | None, device: str | None = None, base: World | None = None) -> dict[str, Any]:
    """Return the figures of the IDM in a folder on its run's held-out clips, or on all clips of the dataset `data`.

    Raise DataError if the IDM cannot be read or the clips do not fit it, or if no clips are named.
    """
    model = load_idm(idm)
    recipe = idm / "recipe.yaml"
    if data is None and not recipe.is_file():
        hint = "Give the run folder, or a dataset with --data."
        raise DataError("an IDM without its run names no clips", where=str(idm), hint=hint)
    known = load_recipe(recipe, []).data if recipe.is_file() else None
    dataset = open_dataset(_spec_of(model, known, data))
    world = base or open_world_on(device, model.card.lineage["base"]["source"])
    clips = dataset.held_out if data is None else dataset.train
    return evaluate_clips(model, clips, world, default_store())


def _spec_of(model: InverseDynamics, known: DataSpec | None, data: str | None) -> DataSpec:
    """Return the run's own data, or all clips of the dataset `data` with the sizes and columns of the run."""
    card = model.card
    if known is None:
        size = {"frames": card.frames, "fps": card.fps, "height": card.height, "width": card.width, "fit": card.fit}
        known = DataSpec.model_validate({"path": data, "action_space": card.action_space, **size})
    if data is None:
        return known
    return known.model_copy(update={"path": data, "held_out": 0.0, "split_by": "episode", "captions": None})


def evaluate_clips(
    idm: InverseDynamics, clips: Sequence[Clip], world: World | None, store: LatentStore
) -> dict[str, Any]:
    """Return the figures of `measure` for the recorded clips ("video") and, with a base, after its codec ("codec").

    Raise DataError if there are no clips, or they do not fit the IDM.
    """
    if not clips:
        hint = "Hold some out with data.held_out, or name another dataset."
        raise DataError("there are no clips to evaluate on", where=idm.card.name, hint=hint)
    check_clips_fit(idm, clips)
    figures = {"video": measure(idm, _known(idm, clips, (read_clip(clip) for clip in clips)))}
    if world is not None:
        figures["codec"] = measure(idm, _known(idm, clips, through_codec(clips, world, store)))
    return figures


def check_clips_fit(idm: InverseDynamics, clips: Sequence[Clip]) -> None:
    """Raise DataError unless the clips have the rate, states and actions that the IDM was trained on."""
    card = idm.card
    for clip in clips:
        states = 0 if clip.states is None else clip.states.shape[1]
        actions = None if clip.actions is None else clip.actions.shape[1]
        found = (clip.fps, states, actions)
        expected = (card.fps, len(card.state_names), card.action_size)
        if actions is not None and found == expected:
            continue
        names = ("frames per second", "states", "numbers in a row of `action`")
        name, ours, theirs = next(
            (row for row in zip(names, found, expected, strict=True) if row[1] != row[2]), (names[2], "no", "")
        )
        what = f"clip {clip.name} has {ours} {name}, but the IDM {card.name} was trained with {theirs}"
        raise DataError(what, where=clip.source, hint="Use the IDM of this robot, or train one on this dataset.")


def _known(idm: InverseDynamics, clips: Sequence[Clip], videos: Iterable[Frames]) -> Iterable[KnownVideo]:
    for clip, frames_THWC in zip(clips, videos, strict=True):
        assert clip.states is not None
        yield KnownVideo(
            frames_THWC, clip.states, command_of(clip, idm.card.action_space), f"{clip.task}, {clip.camera}"
        )
