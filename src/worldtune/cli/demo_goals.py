"""The goals of the demo, and its own figures: the share of full fine-tuning's gain, and the gripper's path."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldtune.evaluation.report.figures import Figure
    from worldtune.evaluation.results import Comparison

GOALS = {
    "PSNR gain over the base": 2.5,
    "PSNR gain, lower end of the 95 % interval": 1.5,
    "share of clips better than the base": 0.95,
    "PSNR over frozen first frame": 1.0,
    "base: PSNR over frozen first frame": 0.0,  # at most: the base cannot do a new camera or task
    "base-domain loss, share of the base's": 2.0,
}
LORA_SECONDS, SECONDS, GIGABYTES = 90.0, 300.0, 3.0
SHARE_OF_FULL, PATH_SLOPE, END_POINT_MM = 0.95, 0.75, 100.0
STEPS, CLIPS = 10, 24
"""Solver steps, and held-out clips to compare."""
QUICK = ["train.steps=6", "train.warmup=2", "train.checkpoint_every=6", "validate={every: 6, sigmas: 1}", "replay=null"]
"""Overrides of the recipes for --quick."""
FULL_FINE_TUNING = Path(__file__).parents[1] / "recipes" / "pocket-new-view.full.json"
"""The gain of training all weights on the new view, recorded by `pretraining/pocket/full_finetune.py`."""


def new_view_figures(
    comparison: "Comparison", losses: Mapping[str, tuple[float | None, float | None]], full: Mapping[str, Any] | None
) -> list["Figure"]:
    """Return each run's share of full fine-tuning's gains, and how far and where its gripper goes.

    `losses` maps each run to the held-out losses of the base and of the adapter. `full` is the content of
    `FULL_FINE_TUNING`, or None if the file is missing or was measured on other clips.
    """
    from worldtune.evaluation.report.figures import figure

    figures = []
    for run, (base, adapter) in losses.items():
        shares: dict[str, float | None] = {"loss": None, "PSNR": None}
        gain_db = comparison.gain(run).mean
        if full and base is not None and adapter is not None and gain_db is not None:
            full_gain = full["held_out_loss"]["base"] - full["held_out_loss"]["full fine-tuning"]
            shares = {"loss": (base - adapter) / full_gain, "PSNR": gain_db / full["psnr_gain_db"]}
        for metric, share in shares.items():
            why = "full fine-tuning was not measured on these clips" if share is None else None
            name = f"{run}: share of full fine-tuning's gain in {metric}"
            figures.append(figure(name, share, "×", "higher", SHARE_OF_FULL, why))
        means = comparison.headline.results[run].means
        slope, end_mm, layouts = (
            means[metric].mean if metric in means else None
            for metric in ("path_slope", "end_point_mm", "end_point_slope")
        )
        absent = comparison.not_run.get("path_slope", "not measured")
        figures += [
            figure(f"{run}: path slope", slope, "×", "higher", PATH_SLOPE, absent if slope is None else None),
            figure(f"{run}: end point", end_mm, "mm", "lower", END_POINT_MM, absent if end_mm is None else None),
            figure(f"{run}: end-point slope", layouts, "×", "higher", None, absent if layouts is None else None),
        ]
    return figures
