"""The field of candidates: who is compared with the base, the videos that each makes, and what is known of them."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from worldtune.adapters.card import AdapterCard, read_card
from worldtune.episodes.spec import DataSpec
from worldtune.errors import UserError
from worldtune.evaluation.case import Video
from worldtune.evaluation.comparison import CONTROLS, REFERENCE
from worldtune.evaluation.contenders import AdapterFolder, Contender, OtherWorld, VideoFolder, adapters_of, videos_in
from worldtune.evaluation.generated import Maker, Model, models_of
from worldtune.evaluation.held_out import Suite
from worldtune.evaluation.on_ray import Cluster
from worldtune.evaluation.runs import TrainedRun
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.worlds.load import check_layout, open_world_on
from worldtune.worlds.world import World

OnVideo = Callable[[int, int, str], None]
Field = Mapping[str, Contender]
"""What is compared with the base, by name."""


def field_of(runs: Sequence[TrainedRun], contenders: Field, incumbent: str | None) -> dict[str, Contender]:
    """The runs' adapters, then the other contenders. Raises UserError for a name that is taken or not there."""
    field: dict[str, Contender] = {run.name: AdapterFolder(run.folder.adapter, run.folder.path) for run in runs}
    for name, contender in contenders.items():
        if name in field or name in {"base", REFERENCE, *CONTROLS}:
            what = f"a candidate cannot be called {name!r} here"
            raise UserError(what, where=str(contender.path), mend="Another column has that name: choose another.")
        field[name] = contender
    if incumbent is not None and incumbent not in field:
        what = f"the incumbent {incumbent!r} is not compared"
        raise UserError(what, where="--incumbent", mend=f"One of: {', '.join(field)}.")
    return field


def run_folders(field: Field) -> dict[str, Path]:
    """Those of which it is known what they were trained on."""
    return {name: its.run for name, its in field.items() if isinstance(its, AdapterFolder) and its.run is not None}


def cards(field: Field) -> dict[str, AdapterCard]:
    """The cards of the adapters. Raises AdapterError when one cannot be read."""
    return {name: read_card(its.path, its.card) for name, its in field.items() if isinstance(its, AdapterFolder)}


def remarks_on(field: Field, leader: TrainedRun) -> Iterator[str]:
    """A sentence for each candidate that may have seen the leader's clips, or was made for others."""
    own, asked = leader.card.lineage["datasets"]["data"], leader.recipe.data
    for name, its in field.items():
        if not isinstance(its, AdapterFolder):
            yield f"It is not known whether {name} was trained on these clips: what made it does not say."
            continue
        card = read_card(its.path, its.card)
        if its.run is None and card.lineage.get("datasets", {}).get("data") != own:
            yield f"It is not known whether {name} was trained on these clips: its card names another dataset, or none."
        if _size(card) != _size(asked):
            yield f"{name} was made for clips of {_size(card)}, these are of {_size(asked)}."


def _size(of: AdapterCard | DataSpec) -> str:
    return f"{of.frames} frames of {of.height}×{of.width} at {of.fps:g} a second"


def make_videos(
    world: World, field: Field, suite: Suite, maker: Maker, store: LatentStore, on_video: OnVideo
) -> tuple[dict[str, dict[str, list[Video]]], dict[str, str | None]]:
    """Every candidate's videos, the base's first, and what is known of what was loaded for them.

    An adapter's weights are those of its card, and a base is opened only whole: both refuse anything else.
    """

    def told(name: str, done: int, total: int) -> None:
        on_video(done, total, name)

    loaded: dict[str, str | None] = {}
    there = {
        name: videos_in(its.path, suite.cases, suite.clips[0].clip.fps)
        for name, its in field.items()
        if isinstance(its, VideoFolder)
    }  # before the long work
    for its in field.values():
        if isinstance(its, OtherWorld):
            check_layout(its.path, str(its.path))
    videos = {"base": maker.make(world, Model("base"), suite.clips, told)}
    for name, contender in field.items():
        match contender:
            case AdapterFolder(path, _, card):
                videos[name] = maker.make(world, Model(name, path, card), suite.clips, told)
                weights = read_card(path, card).weights_digest
                loaded[name] = f"{world.tensors} tensors of the base, and all of the adapter's ({weights[:12]})"
            case OtherWorld(path):
                other = open_world_on(str(world.device), str(path))
                _refuse_other_codec(world, other, path)
                clips = encode_clips(other, [clip.clip for clip in suite.clips], store)
                videos[name] = maker.make(other, Model(name), clips, told)
                loaded[name] = f"{other.tensors} tensors of its own"
            case VideoFolder():
                videos[name], loaded[name] = there[name], None
    return videos, loaded


def make_on_ray(world: World, field: Field, suite: Suite, maker: Maker, workers: int, on_video: OnVideo) -> None:
    """What the base and the adapters lack is made by a cluster, and found afterwards where it is kept.

    Raises UserError as `on_ray` does, and when the cluster's videos are not those that are asked for here.
    """
    models = models_of({name: folder.absolute() for name, folder in adapters_of(field).items()})
    jobs = [(model, maker.lacking(world, model, suite.clips)) for model in models]
    done, total = itertools.count(1), sum(len(clips) for _, clips in jobs) * len(maker.plan.seeds)
    if not total:
        return
    Cluster.like(world, workers).make(maker, jobs, lambda name: on_video(next(done), total, name.split(" ")[0]))
    if any(maker.lacking(world, model, suite.clips) for model in models):
        what = "the cluster made other videos than those that are asked for"
        mend = "Its machines need this version of worldtune, torch and diffusers, and the same cache folder."
        raise UserError(what, where="--executor ray", mend=mend)


def _refuse_other_codec(world: World, other: World, path: Path) -> None:
    if other.card.codec_digest != world.card.codec_digest:
        raise UserError(
            "its codec is not the base's: the same noise would be another video",
            where=str(path),
            mend="Compare it as a folder of videos.",
        )
