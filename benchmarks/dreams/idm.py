"""Inverse dynamics on held-out clips of the pocket world, as recorded and after the codec."""

from pathlib import Path
from typing import Any

import worldtune as wt
from worldtune.core.progress import Progress, silent
from worldtune.evaluation.report.figures import Figure, figure

RECIPE = ("pocket-dreams", "data.held_out=0.25")
QUICK = ("idm.steps=10", "idm.members=2")
DISPLACEMENT_R2 = {"video": 0.9, "codec": 0.85}  # goals
BALANCED_ACCURACY, RANK_CORRELATION = 0.9, 0.5


def measure(out: Path, *, quick: bool, progress: Progress = silent) -> list[Figure]:
    """Train the shipped recipe's inverse dynamics in `out`, or continue, and return the figures."""
    name, *changes = RECIPE
    recipe = wt.load_recipe(name, [*changes, *(QUICK if quick else ())])
    run = wt.train_idm(recipe, out, resume=(out / "recipe.yaml").is_file(), progress=progress)
    assert run.card.held_out is not None
    return [row for kind, found in run.card.held_out.items() for row in _figures(kind, found)]


def _figures(kind: str, found: dict[str, Any]) -> list[Figure]:
    of = {"video": "recorded video", "codec": "through the codec"}[kind]
    millimeters = {name: 1000 * found["end_points"][name] for name in ("error", "spread")}
    rows = [
        figure(
            f"inverse dynamics, {of}: explained variance of the hand's displacement",
            found["displacement_r2"], "", "higher", DISPLACEMENT_R2[kind],
        ),
        figure(f"inverse dynamics, {of}: end-point error", millimeters["error"], "mm", "lower"),
        figure(f"inverse dynamics, {of}: spread of the layouts", millimeters["spread"], "mm", "higher"),
        figure(
            f"inverse dynamics, {of}: rank correlation of disagreement and error",
            found["spearman"], "", "higher", RANK_CORRELATION,
        ),
    ]  # fmt: skip
    for value in found["balanced_accuracy"].values():
        rows.append(
            figure(
                f"inverse dynamics, {of}: balanced accuracy of the gripper", value, "", "higher", BALANCED_ACCURACY,
                None if value is not None else "the gripper's commands do not vary",
            )
        )  # fmt: skip
    return rows
