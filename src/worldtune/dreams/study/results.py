"""Write the results of a study as one JSON file, with the verdict in one sentence a task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldtune.core.files import write_json
from worldtune.core.machine import machine
from worldtune.core.settings import parse_model
from worldtune.core.strict_io import read_json_object
from worldtune.dreams.study.analysis import TaskAnalysis, analyze
from worldtune.dreams.study.critic_counts import count_critics
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.forecast import make_forecast
from worldtune.dreams.study.policies import PolicyResult
from worldtune.dreams.study.room import Room
from worldtune.dreams.study.saved_results import RESULTS, StudyResults
from worldtune.dreams.study.settings import Arm, StudySettings
from worldtune.dreams.study.verdict import task_verdict


def write_results(
    settings: StudySettings,
    folder: StudyFolder,
    room: Mapping[str, Room],
    results: Sequence[PolicyResult],
    replay: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Write results.json and return its content, as `StudyResults` describes it."""
    tasks: dict[str, dict[str, Any]] = {}
    for task in settings.tasks:
        own = [result for result in results if result.task == task]
        tasks[task] = _task_results(settings, task, room[task], own, replay[task])
    figures = _figures(settings, folder)
    measured_on = machine()
    content = {
        "settings": settings.model_dump(mode="json"),
        "commit": measured_on.pop("commit"),
        "machine": measured_on,
        "seconds": {row["stage"]: row["seconds"] for row in folder.seconds()},
        "policy_seconds": sum(result.train_seconds + result.evaluate_seconds for result in results),
        "tasks": tasks,
        "figures": figures,
        "critics": [counts.model_dump(mode="json") for counts in count_critics(settings, folder)],
        "forecast": make_forecast(settings, folder).model_dump(mode="json") if figures else None,
        "verdict": " ".join(row["verdict"] for row in tasks.values()),
    }
    parsed = parse_model(StudyResults, content, str(folder.path / RESULTS)).model_dump(mode="json")
    write_json(folder.path / RESULTS, parsed)
    return parsed


def _task_results(
    settings: StudySettings, task: str, room: Room, results: Sequence[PolicyResult], replay: Mapping[str, float]
) -> dict[str, Any]:
    analysis = analyze(settings, results)
    differences = analysis.difference.items()
    return {
        "room": vars(room),
        "replay": dict(replay),
        "success": {arm: _arm_success(analysis, arm, results) for arm in analysis.success},
        "differences": [{"arm": arm, "other": other} | vars(estimate) for (arm, other), estimate in differences],
        "share_of_oracle": _share_of_oracle(analysis),
        "worth": analysis.worth and analysis.worth.model_dump(),
        "verdict": task_verdict(task, room, analysis),
    }


def _arm_success(analysis: TaskAnalysis, arm: Arm, results: Sequence[PolicyResult]) -> dict[str, Any]:
    own = [result for result in results if result.arm == arm]
    return vars(analysis.success[arm]) | {
        "by_policy": analysis.by_policy[arm].tolist(),
        "real": float(np.mean([result.real for result in own])),
        "synthetic": float(np.mean([result.synthetic for result in own])),
    }


def _share_of_oracle(analysis: TaskAnalysis) -> float | None:
    """Return the success with dreams of the LoRA over that of the oracle."""
    if "lora" not in analysis.success or not analysis.success["oracle"].mean:
        return None
    return analysis.success["lora"].mean / analysis.success["oracle"].mean


def _figures(settings: StudySettings, folder: StudyFolder) -> list[dict[str, dict[str, Any]]]:
    """Return the figures of each finished draw, by video and task."""
    finished = [path for draw in range(settings.draws) if (path := folder.figures(draw)).is_file()]
    return [
        {kind: {task: by_task[task] for task in settings.tasks} for kind, by_task in read_json_object(path).items()}
        for path in finished
    ]
