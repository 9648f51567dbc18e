"""Prepare a request: open its models and data, read the first frames, and plan the dreams."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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

RATES_DIFFER = 1e-3  # relative


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
    data = reference = None
    if request.data is not None:
        spec = data_spec(request.data, size, "data", fixed=bool(adapters))
        size = replace(size, fit=spec.fit, tile=spec.tile)
        data = _open(spec, labeler, stage(progress, "data"))
    if request.critics:
        reference = data
        if request.reference is not None:
            spec = data_spec(request.reference, size, "reference", fixed=True)
            reference = _open(spec, labeler, stage(progress, "reference"))
    frames = _first_frames(request, data, size, stage(progress, "first frames"))
    check_reads_cameras(labeler, frames)
    dreams = plan_dreams(request, models, frames)
    for prompt in dict.fromkeys(dream.prompt for dream in dreams):
        world.text.check(prompt)
    return Prepared(models, size, frames, dreams, count_dreams(request, models, frames), reference)


def data_spec(section: Mapping[str, Any], size: DreamSize, name: str, *, fixed: bool) -> DataSpec:
    """Return a data section at the model's size. With `fixed`, fit and tile are those of the model too.

    Raise RecipeError if the section asks for others, or is wrong.
    """
    defaults = {"frames": size.frames, "fps": size.fps, "height": size.height, "width": size.width, "fit": size.fit}
    tile = {} if size.tile is None else {"tile": size.tile}
    spec = parse_model(DataSpec, defaults | tile | dict(section), name)
    found = DreamSize(spec.frames, spec.fps, spec.height, spec.width, spec.fit, spec.tile)
    if found != (size if fixed else replace(size, fit=spec.fit, tile=spec.tile)):
        what = f"{name} asks for {found}, the model makes {size}"
        hint = "Remove frames, fps, height, width, fit and tile: they follow the model."
        raise RecipeError(what, where=spec.path, hint=hint)
    return spec


def _open(spec: DataSpec, labeler: Labeler, progress: Progress) -> Dataset:
    """Return the dataset. Raise RecipeError for another frame rate, DataError for another robot than the labeler's."""
    dataset = build_dataset(spec, progress)
    rates = sorted({row.fps_in for row in dataset.ledger.rows if row.fps_in})
    if other := [rate for rate in rates if abs(rate / spec.fps - 1) > RATES_DIFFER]:
        what = f"the dataset has {other[0]:g} frames per second, the model {spec.fps:g}"
        hint = f"Export the dataset at {spec.fps:g} fps, or train an adapter at {other[0]:g} fps."
        raise RecipeError(what, where=spec.path, hint=hint)
    check_faults(dataset, spec)
    check_reads_robot(labeler, dataset, spec)
    return dataset


def _first_frames(request: DreamRequest, data: Dataset | None, size: DreamSize, progress: Progress) -> list[FirstFrame]:
    if data is None:
        assert request.images is not None
        return read_image_folder(request.images, size.height, size.width, size.fit, progress)
    assert request.data is not None
    return read_dataset_frames(choose_clips(data, request.episodes, str(request.data["path"])), progress)
