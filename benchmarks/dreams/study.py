"""The figures of finished dream studies in `runs/dream-study-*`, as their reports have them."""

from pathlib import Path

from worldtune.dreams.study.saved_results import RESULTS, StudyResults, read_results
from worldtune.evaluation.report.figures import Figure, figure

STUDIES = ("camera", "known", "task")
GAIN, SHARE_OF_ORACLE = 25.0, {"camera": 0.8, "known": 0.9, "task": 0.8}  # goals: points; share


def study_figures(runs: Path) -> list[Figure]:
    """Return the figures of each target whose study is finished."""
    found = []
    for target in STUDIES:
        folder = runs / f"dream-study-{target}"
        if (folder / RESULTS).is_file():
            found += list(_figures(target, read_results(folder)))
    return found


def _figures(target: str, results: StudyResults) -> list[Figure]:
    rows = []
    for task, row in results.tasks.items():
        for pair in row.differences:
            if (pair.arm, pair.other) in (("lora", "real"), ("lora", "shuffled")):
                name = f"{target}, {task}: success with dreams over {pair.other}"
                rows.append(figure(name, 100 * pair.mean, "points", "higher", GAIN))
                rows.append(figure(f"{name}, lower end", 100 * pair.low, "points", "higher", 0.0))
        if row.share_of_oracle is not None:
            name = f"{target}, {task}: share of the oracle"
            rows.append(figure(name, row.share_of_oracle, "", "higher", SHARE_OF_ORACLE[target]))
    return rows
