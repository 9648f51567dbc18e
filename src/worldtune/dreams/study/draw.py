"""The work of one draw: demonstrations, adapters, inverse dynamics, dreams, and labels of the true clips.

Each step is skipped if its result exists, so that a stopped draw continues.

Shape letters: T frames, H×W pixels, C colors.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worldtune.adapters.used import Used
from worldtune.core.files import write_json
from worldtune.core.progress import Progress, silent
from worldtune.core.seeds import derive_seed
from worldtune.dreams.dream import dream
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.idm.figures import KnownVideo, compare_labels, measure
from worldtune.dreams.idm.labels_file import write_labels
from worldtune.dreams.idm.model import InverseDynamics, load_idm
from worldtune.dreams.idm.session import train_idm
from worldtune.dreams.making.worker import VIDEOS, read_video
from worldtune.dreams.request import DreamRequest
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.scenes import ACTION_SPACE, render
from worldtune.dreams.study.settings import Arm, StudySettings
from worldtune.dreams.study.true_clips import TrueClip, codec_frames, true_clips
from worldtune.models.load import open_world
from worldtune.models.world import World
from worldtune.sim.seeds import DEMONSTRATIONS
from worldtune.training.recipe import Recipe, find_recipe
from worldtune.training.session import Observers, Session, train_recipe


def run_draw(settings: StudySettings, folder: StudyFolder, draw: int, progress: Progress = silent) -> None:
    """Do the work of one draw that is missing."""
    if folder.figures(draw).is_file():
        return
    world = open_world(_recipe(settings, folder, draw).base)
    for method in ("lora", "dora"):
        if method in settings.arms:
            _train_adapter(settings, folder, draw, method, world, progress)
    idm = _train_idm(settings, folder, draw, world, progress)
    for arm in settings.dream_arms:
        _dream(settings, folder, draw, arm, world, idm, progress)
    figures = _label_true_clips(settings, folder, draw, idm)
    for arm in settings.dream_arms:
        figures[arm] = _measure_dreams(folder, draw, arm, idm)
    write_json(folder.figures(draw), figures)


def render_demonstrations(settings: StudySettings, folder: StudyFolder, draw: int, progress: Progress = silent) -> None:
    """Render the demonstrations of one draw that are missing."""
    if not folder.demonstrations(draw).is_dir():
        with timed(folder, f"render-{draw}"):
            tasks, count = settings.adapter_tasks, settings.demonstrations
            render(folder.demonstrations(draw), tasks, settings.view, count, DEMONSTRATIONS, draw, progress)
    if settings.most_demonstrations > settings.demonstrations and not folder.more_demonstrations(draw).is_dir():
        tasks, count = settings.tasks, settings.most_demonstrations
        render(folder.more_demonstrations(draw), tasks, settings.view, count, DEMONSTRATIONS, draw, progress)


@contextmanager
def timed(folder: StudyFolder, stage: str) -> Iterator[None]:
    """Record the seconds of a stage that ends without an error."""
    begin = time.monotonic()
    yield
    folder.add_seconds(stage, time.monotonic() - begin)


def _recipe(settings: StudySettings, folder: StudyFolder, draw: int, *more: str) -> Recipe:
    data = {
        "data.path": folder.demonstrations(draw),
        "data.held_out": 0.0,
        "data.action_space": ACTION_SPACE.model_dump_json(),
        "train.seed": derive_seed("adapter", draw),
        "idm.seed": derive_seed("idm", draw),
    }
    return find_recipe(
        settings.recipe, [*(f"{key}={value}" for key, value in data.items()), *settings.overrides, *more]
    )


def _train_adapter(
    settings: StudySettings, folder: StudyFolder, draw: int, method: str, world: World, progress: Progress
) -> None:
    out = folder.adapter(draw, method)
    if (out / "adapter").is_dir():
        return
    recipe = _recipe(settings, folder, draw, f"adapter.method={method}")
    with timed(folder, f"{method}-{draw}"):
        train_recipe(recipe, out, Session(resume="auto"), Observers(progress=progress), world)


def _train_idm(
    settings: StudySettings, folder: StudyFolder, draw: int, world: World, progress: Progress
) -> InverseDynamics:
    out = folder.idm(draw)
    if not (out / "idm").is_dir():
        with timed(folder, f"idm-{draw}"):
            recipe = _recipe(settings, folder, draw)
            train_idm(recipe, out, resume=(out / "recipe.yaml").is_file(), base=world, progress=progress)
    return load_idm(out)


def _dream(
    settings: StudySettings,
    folder: StudyFolder,
    draw: int,
    arm: Arm,
    world: World,
    idm: InverseDynamics,
    progress: Progress,
) -> None:
    name = str(folder.adapter(draw, arm) / "adapter")
    adapters = {} if arm == "base" else {name: Used(Path(name))}
    request = DreamRequest(
        base=world.card.source,
        adapters=tuple(adapters),
        data={"path": str(folder.resets), "action_space": ACTION_SPACE.model_dump(mode="json")},
        reference={"path": str(folder.demonstrations(draw)), "action_space": ACTION_SPACE.model_dump(mode="json")},
        episodes="all",
        seed=draw,
        steps=settings.steps,
        guidance=0,
        idm=str(folder.idm(draw)),
    )
    with timed(folder, f"dreams-{arm}-{draw}"):
        dream(request, folder.dreams(draw, arm), world=world, adapters=adapters, labeler=idm, progress=progress)


def _label_true_clips(settings: StudySettings, folder: StudyFolder, draw: int, idm: InverseDynamics) -> dict[str, Any]:
    """Write the labels of the true clips, as rendered and after the codec, and return the figures of both."""
    figures: dict[str, Any] = {}
    for kind in ("video", "codec"):
        figures[kind] = {}
        for task in settings.tasks:
            clips = true_clips(folder, task, settings.view)
            frames_NTHWC = codec_frames(folder, task) if kind == "codec" else [clip.frames_THWC for clip in clips]
            known, read = [], []
            for clip, frames_THWC in zip(clips, frames_NTHWC, strict=True):
                read.append(idm.label(frames_THWC, clip.states_TS[0]))
                write_labels(folder.labels(draw, kind, clip.episode), read[-1])
                known.append(KnownVideo(frames_THWC, clip.states_TS, clip.commands_ID, task))
            figures[kind][task] = compare_labels(idm.card, known, read)
    return figures


def _measure_dreams(folder: StudyFolder, draw: int, arm: Arm, idm: InverseDynamics) -> dict[str, Any]:
    dreams = DreamSet(folder.dreams(draw, arm))
    settings = folder.settings()
    truth: dict[str, tuple[str, TrueClip]] = {
        clip.episode: (task, clip) for task in settings.tasks for clip in true_clips(folder, task, settings.view)
    }
    known = []
    for row in dreams.ledger:
        task, clip = truth[row.episode]
        frames_THWC = read_video(dreams.folder / VIDEOS / f"{row.name}.mp4")
        known.append(KnownVideo(frames_THWC, clip.states_TS, None, task))
    return _by_task(idm, known) | {"kept": len(dreams.kept), "dreams": len(dreams.ledger)}


def _by_task(idm: InverseDynamics, known: list[KnownVideo]) -> dict[str, Any]:
    """Return the figures of each task."""
    tasks = dict.fromkeys(video.group for video in known)
    return {task: measure(idm, [video for video in known if video.group == task]) for task in tasks}
