"""The candidates of an evaluation: collect them, generate their videos, and describe their origin."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from worldtune.adapters.card import AdapterCard, read_card
from worldtune.core.progress import Progress
from worldtune.data.spec import DataSpec
from worldtune.errors import UserError
from worldtune.evaluation.candidates.candidate import (
    AdapterFolder,
    Candidate,
    VideoFolder,
    WorldFolder,
    adapter_folders,
    read_video_folder,
)
from worldtune.evaluation.candidates.generate_ray import Cluster
from worldtune.evaluation.candidates.video_generator import CandidateModel, VideoGenerator, list_models
from worldtune.evaluation.cases.case import Video
from worldtune.evaluation.cases.held_out import Suite
from worldtune.evaluation.cases.runs import TrainedRun
from worldtune.evaluation.results import CONTROLS, REFERENCE
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.models.load import check_layout, open_world_on
from worldtune.models.world import World

CandidatesByName = Mapping[str, Candidate]
"""The candidates that are compared with the base, by name."""


def collect_candidates(
    runs: Sequence[TrainedRun], further: CandidatesByName, incumbent: str | None
) -> dict[str, Candidate]:
    """Return the runs' adapters, then the further candidates.

    Raise UserError if a name is taken or the incumbent is not among them.
    """
    candidates: dict[str, Candidate] = {run.name: AdapterFolder(run.folder.adapter, run.folder.path) for run in runs}
    for name, candidate in further.items():
        if name in candidates or name in {"base", REFERENCE, *CONTROLS}:
            what = f"a candidate cannot be called {name!r}"
            raise UserError(what, where=str(candidate.path), hint="Choose another name: this one is taken.")
        candidates[name] = candidate
    if incumbent is not None and incumbent not in candidates:
        what = f"the incumbent {incumbent!r} is not a candidate"
        raise UserError(what, where="--incumbent", hint=f"Name one of: {', '.join(candidates)}.")
    return candidates


def run_folders(candidates: CandidatesByName) -> dict[str, Path]:
    """Return the run folders by candidate name; only these tell what a candidate was trained on."""
    return {
        name: candidate.run
        for name, candidate in candidates.items()
        if isinstance(candidate, AdapterFolder) and candidate.run is not None
    }


def read_cards(candidates: CandidatesByName) -> dict[str, AdapterCard]:
    """Return the cards of the adapters by name. Raise AdapterError if one cannot be read."""
    return {
        name: read_card(candidate.path, candidate.card)
        for name, candidate in candidates.items()
        if isinstance(candidate, AdapterFolder)
    }


def provenance_notes(candidates: CandidatesByName, first_run: TrainedRun) -> Iterator[str]:
    """Yield a note for each candidate that may have been trained on these clips or was made for another clip size."""
    dataset, spec = first_run.card.lineage["datasets"]["data"], first_run.recipe.data
    for name, candidate in candidates.items():
        if not isinstance(candidate, AdapterFolder):
            yield f"{name} may have been trained on these clips: it has no card."
            continue
        card = read_card(candidate.path, candidate.card)
        if candidate.run is None and card.lineage.get("datasets", {}).get("data") != dataset:
            yield f"{name} may have been trained on these clips: its card names another dataset or no dataset."
        if _clip_size(card) != _clip_size(spec):
            yield f"{name} was made for clips of {_clip_size(card)}; these clips are {_clip_size(spec)}."


def _clip_size(spec: AdapterCard | DataSpec) -> str:
    return f"{spec.frames} frames of {spec.height}×{spec.width} at {spec.fps:g} fps"


def generate_videos(
    world: World,
    candidates: CandidatesByName,
    suite: Suite,
    generator: VideoGenerator,
    store: LatentStore,
    progress: Progress,
) -> tuple[dict[str, dict[str, list[Video]]], dict[str, str | None]]:
    """Return every candidate's videos, the base's first, and a description of the weights loaded for each candidate.

    Loading raises an error unless an adapter's weights match its card and a base is complete.
    """
    loaded: dict[str, str | None] = {}
    folder_videos = {
        name: read_video_folder(candidate.path, suite.cases, suite.clips[0].clip.fps)
        for name, candidate in candidates.items()
        if isinstance(candidate, VideoFolder)
    }  # before the long work
    for candidate in candidates.values():
        if isinstance(candidate, WorldFolder):
            check_layout(candidate.path, str(candidate.path))
    videos = {"base": generator.generate(world, CandidateModel("base"), suite.clips, progress)}
    for name, candidate in candidates.items():
        match candidate:
            case AdapterFolder(path, _, card):
                videos[name] = generator.generate(world, CandidateModel(name, path, card), suite.clips, progress)
                weights = read_card(path, card).weights_digest
                loaded[name] = f"{world.tensors} tensors of the base, and all of the adapter's ({weights[:12]})"
            case WorldFolder(path):
                candidate_world = open_world_on(str(world.device), str(path))
                _check_same_codec(world, candidate_world, path)
                clips = encode_clips(candidate_world, [clip.clip for clip in suite.clips], store)
                videos[name] = generator.generate(candidate_world, CandidateModel(name), clips, progress)
                loaded[name] = f"{candidate_world.tensors} tensors of its own"
            case VideoFolder():
                videos[name], loaded[name] = folder_videos[name], None
    return videos, loaded


def generate_on_ray(
    world: World,
    candidates: CandidatesByName,
    suite: Suite,
    generator: VideoGenerator,
    workers: int,
    progress: Progress,
) -> None:
    """Generate the missing videos of the base and the adapters on a Ray cluster, into the shared cache.

    Raise UserError as `run_on_ray` does, or if videos are still missing because the cluster computes other cache keys.
    """
    models = list_models({name: folder.absolute() for name, folder in adapter_folders(candidates).items()})
    jobs = [(model, generator.missing_clips(world, model, suite.clips)) for model in models]
    if not any(clips for _, clips in jobs):
        return
    Cluster.from_world(world, workers).generate(generator, jobs, progress)
    if any(generator.missing_clips(world, model, suite.clips) for model in models):
        what = "videos are still missing after the cluster generated them"
        hint = "Give its machines the same versions of worldtune, torch and diffusers, and the same cache folder."
        raise UserError(what, where="--executor ray", hint=hint)


def _check_same_codec(world: World, candidate_world: World, path: Path) -> None:
    if candidate_world.card.codec_digest != world.card.codec_digest:
        raise UserError(
            "the codec is not the base's, so the same noise would give a different video",
            where=str(path),
            hint="Generate its videos separately and compare the folder of mp4 files.",
        )
