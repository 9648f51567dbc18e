"""The results of a study as one JSON file, and the verdict in one sentence."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from worldtune.core.code_commit import code_commit
from worldtune.core.files import write_json
from worldtune.core.strict_io import read_json_object
from worldtune.dreams.study.analysis import TaskAnalysis, analyze
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.policies import PolicyResult
from worldtune.dreams.study.room import Room
from worldtune.dreams.study.settings import StudySettings
from worldtune.dreams.study.verdict import task_verdict

RESULTS = "results.json"


def write_results(
    settings: StudySettings,
    folder: StudyFolder,
    room: Mapping[str, Room],
    results: Sequence[PolicyResult],
    replay: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Write results.json and return its content."""
    tasks: dict[str, dict[str, Any]] = {}
    for task in settings.tasks:
        own = [result for result in results if result.task == task]
        analysis = analyze(settings, own)
        tasks[task] = {
            "room": asdict(room[task]),
            "replay": dict(replay[task]),
            "success": {arm: asdict(estimate) for arm, estimate in analysis.success.items()},
            "difference": {f"{a} - {b}": asdict(estimate) for (a, b), estimate in analysis.difference.items()},
            "share_of_oracle": _share_of_oracle(analysis),
            "worth_in_demonstrations": analysis.worth,
            "verdict": task_verdict(task, room[task], analysis),
        }
    figures = [read_json_object(path) for draw in range(settings.draws) if (path := folder.figures(draw)).is_file()]
    content = {
        "settings": settings.model_dump(mode="json"),
        "commit": code_commit(),
        "machine": f"{platform.processor() or platform.machine()}, {platform.system()}",
        "seconds": {row["stage"]: row["seconds"] for row in folder.seconds()},
        "policy_seconds": sum(result.train_seconds + result.evaluate_seconds for result in results),
        "tasks": tasks,
        "figures": figures,
        "verdict": " ".join(row["verdict"] for row in tasks.values()),
    }
    write_json(folder.path / RESULTS, content)
    return content


def _share_of_oracle(analysis: TaskAnalysis) -> float | None:
    """Return the success with dreams of the LoRA over that of the oracle."""
    if "lora" not in analysis.success or not analysis.success["oracle"].mean:
        return None
    return analysis.success["lora"].mean / analysis.success["oracle"].mean
