"""Prepare a request: open its models and data, read the first frames, and plan the dreams."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worldtune.adapters.used import Used
from worldtune.core.progress import Progress, silent, stage
from worldtune.core.settings import parse_model
from worldtune.data.dataset import Dataset, build_dataset, check_faults
from worldtune.data.spec import DataSpec
from worldtune.dreams.labeler import Labeler
from worldtune.dreams.making.embodiment import check_reads_cameras, check_reads_robot, check_reads_videos
from worldtune.dreams.making.first_frames import FirstFrame, choose_clips, read_dataset_frames, read_image_folder
from worldtune.dreams.making.plan import Dream, DreamModel, DreamSize, count_dreams, plan_dreams, resolve_models
from worldtune.dreams.request import DreamRequest
from worldtune.errors import RecipeError
from worldtune.models.world import World


@dataclass(frozen=True)
class Prepared:
    """A request whose models, data and first frames are open. `reference` is None without critics."""

    models: list[DreamModel]
    size: DreamSize
    frames: list[FirstFrame]
    dreams: list[Dream]
    total: int
    reference: Dataset | None


def prepare(
    request: DreamRequest,
    world: World,
    adapters: Mapping[str, Used],
    labeler: Labeler,
    progress: Progress = silent,
) -> Prepared:
    """Return the planned dreams of a request. Raise as `dream` does."""
    models, size = resolve_models(world, adapters)
    check_reads_videos(labeler, world, size)
    data = None if request.data is None else _open(request.data, size, "data", stage(progress, "data"))
    reference = None
    if request.critics:
        given = request.reference
        reference = data if given is None else _open(given, size, "reference", stage(progress, "reference"))
    for dataset, section in ((data, request.data), (reference, request.reference)):
        if dataset is not None and section is not None:
            check_reads_robot(labeler, dataset, str(section["path"]))
    advance = stage(progress, "first frames")
    if request.images is not None:
        frames = read_image_folder(request.images, size.height, size.width, size.fit, advance)
    else:
        assert data is not None
        assert request.data is not None
        frames = read_dataset_frames(choose_clips(data, request.episodes, str(request.data["path"])), advance)
    check_reads_cameras(labeler, frames)
    dreams = plan_dreams(request, models, frames)
    for prompt in dict.fromkeys(dream.prompt for dream in dreams):
        world.text.check(prompt)
    return Prepared(models, size, frames, dreams, count_dreams(request, models, frames), reference)


def _open(section: Mapping[str, Any], size: DreamSize, name: str, progress: Progress) -> Dataset:
    """Return a dataset at the model's size. Raise RecipeError if the section or the dataset has another frame rate."""
    defaults = {"frames": size.frames, "fps": size.fps, "height": size.height, "width": size.width, "fit": size.fit}
    tile = {} if size.tile is None else {"tile": size.tile}
    spec = parse_model(DataSpec, defaults | tile | dict(section), name)
    found = DreamSize(spec.frames, spec.fps, spec.height, spec.width, spec.fit, spec.tile)
    if found != size:
        what = f"{name} asks for {found}, the model makes {size}"
        raise RecipeError(
            what, where=spec.path, hint="Remove frames, fps, height, width, fit and tile: they follow it."
        )
    dataset = build_dataset(spec, progress)
    rates = sorted({row.fps_in for row in dataset.ledger.rows if row.fps_in})
    if other := [rate for rate in rates if abs(rate / size.fps - 1) > 1e-3]:
        what = f"the dataset has {other[0]:g} frames per second, the model {size.fps:g}"
        hint = f"Export the dataset at {size.fps:g} fps, or train an adapter at {other[0]:g} fps."
        raise RecipeError(what, where=spec.path, hint=hint)
    check_faults(dataset, spec)
    return dataset
