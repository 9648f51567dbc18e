"""Run the jobs of a study in several processes, or in this one."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import Any

from worldtune.core.progress import Progress, part_of
from worldtune.dreams.study.draw import render_demonstrations, run_draw
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.policies import PolicyJob, PolicyResult, run_policy, use_one_thread
from worldtune.dreams.study.settings import StudySettings


def run_renders(settings: StudySettings, folder: StudyFolder, workers: int, progress: Progress) -> None:
    """Render the demonstrations of every draw."""
    run = partial(render_demonstrations, settings, folder)
    draws = range(settings.draws)
    rendered = map(run, draws) if workers == 1 or settings.draws == 1 else _in_processes(run, draws, workers)
    for done, _ in enumerate(rendered, start=1):
        progress(done, settings.draws)


def run_draws(settings: StudySettings, folder: StudyFolder, workers: int, progress: Progress) -> None:
    """Do the work of every draw."""
    if workers == 1 or settings.draws == 1:
        for draw in range(settings.draws):
            run_draw(settings, folder, draw, progress)
        return
    for done, _ in enumerate(_in_processes(partial(run_draw, settings, folder), range(settings.draws), workers), 1):
        progress(done, settings.draws, "draws")


def run_policies(
    settings: StudySettings, folder: StudyFolder, jobs: Sequence[PolicyJob], workers: int, progress: Progress
) -> list[PolicyResult]:
    """Return the result of every job, in the order of the jobs."""
    missing = [job for job in jobs if not folder.policy(job.task, job.draw, job.arm, job.seed).is_file()]
    advance = part_of(progress, len(jobs) - len(missing), len(jobs))
    run = partial(run_policy, settings, folder)
    results = map(run, missing) if workers == 1 else _in_processes(run, missing, workers)
    for done, result in enumerate(results, start=1):
        rate = sum(result.success) / len(result.success)
        advance(done, len(jobs), f"{result.task}, {result.arm}: {rate:.0%} success")
    return [run(job) for job in jobs]


def _in_processes(run: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Any:
    """Yield the results as they come. An error in a process ends the study with that error."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=use_one_thread) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
