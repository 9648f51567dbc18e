"""Run a study: bounds first, then the draws with their dreams, then the policies of all arms, then the results."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldtune.core.files import lock_folder, write_json
from worldtune.core.progress import Progress, silent, stage
from worldtune.dreams.study.draw import timed
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.policies import PolicyResult, jobs_of
from worldtune.dreams.study.replay import run_replay
from worldtune.dreams.study.report.write import write_report
from worldtune.dreams.study.results import write_results
from worldtune.dreams.study.room import find_room
from worldtune.dreams.study.scenes import check_names, render
from worldtune.dreams.study.settings import BOUNDS, StudySettings
from worldtune.dreams.study.true_clips import write_codec_frames
from worldtune.dreams.study.workers import run_draws, run_policies, run_renders
from worldtune.sim.seeds import RESETS
from worldtune.training.recipe import find_recipe


@dataclass(frozen=True)
class DreamStudy:
    """A finished study: its folder, the content of results.json, and its report."""

    folder: Path
    results: dict[str, Any]
    report: Path

    @property
    def verdict(self) -> str:
        """One sentence about each task."""
        verdict: str = self.results["verdict"]
        return verdict


def run_study(
    settings: StudySettings, out: Path, workers: int | None = None, progress: Progress = silent
) -> DreamStudy:
    """Run what is missing of the study in `out`, and return it. `workers` are processes, None: one per core.

    Raise UserError if the folder holds another study, a task or view is unknown, or the simulator is missing.
    """
    check_names(settings.adapter_tasks, settings.view)
    recipe = find_recipe(settings.recipe, settings.overrides)
    workers = workers or os.cpu_count() or 1
    folder = StudyFolder(out)
    folder.begin(settings)
    with lock_folder(out):
        _render_resets(settings, folder, stage(progress, "render resets"))
        run_renders(settings, folder, workers, stage(progress, "render demonstrations"))
        bounds = run_policies(
            settings, folder, jobs_of(settings, settings.tasks, BOUNDS), workers, stage(progress, "policies: bounds")
        )
        room = {task: find_room(settings, task, bounds, run_replay(settings, folder, task)) for task in settings.tasks}
        tasks = tuple(task for task in settings.tasks if room[task].is_tested)
        results = list[PolicyResult]()
        if tasks:
            for task in settings.tasks:
                write_codec_frames(folder, task, settings.view, recipe.base, stage(progress, "codec"))
            run_draws(settings, folder, workers, stage(progress, "draws"))
            jobs = jobs_of(settings, tasks, settings.arms)
            results = run_policies(settings, folder, jobs, workers, stage(progress, "policies: all arms"))
        replay = {task: run_replay(settings, folder, task) for task in settings.tasks}
        results += [result for result in bounds if result.task not in tasks]
        content = write_results(settings, folder, room, results, replay)
    return DreamStudy(out, content, write_report([out], out / "report"))


def _render_resets(settings: StudySettings, folder: StudyFolder, progress: Progress) -> None:
    if folder.resets.is_dir():
        return
    with timed(folder, "render-resets"):
        seeds = render(folder.resets, settings.tasks, settings.view, settings.dreams, RESETS, 0, progress)
        write_json(folder.path / "reset-seeds.json", seeds)
