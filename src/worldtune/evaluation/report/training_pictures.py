"""The pictures of a training run: a preview video next to the real clip, and the loss curves.

Shapes: T frames, H×W pixels, C colors.
"""

from pathlib import Path

import numpy as np

from worldtune.core.files import atomic_file
from worldtune.data.clip import read_clip
from worldtune.evaluation.cases.clip_cases import generate_image2world
from worldtune.evaluation.report.plots import write_loss_plot
from worldtune.evaluation.report.preview_video import write_report_video
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.recipe import Recipe
from worldtune.training.run_folder import RunFolder


def write_preview(world: World, data: TrainingData, path: Path | None) -> None:
    """Generate the first held-out clip with the current adapter, and write it next to the real clip.

    With `path` None only generate it: ranks that share the work of generation pass None.
    """
    clip = (data.held_out or data.train)[0]
    (frames_THWC,) = generate_image2world(world, [clip], SamplingPlan()).values()
    world.release_encoders()
    if path is None:
        return
    with atomic_file(path) as partial:
        write_report_video(partial, np.concatenate([read_clip(clip.clip), frames_THWC], axis=2), clip.clip.fps)


def draw_losses(recipe: Recipe, run: RunFolder) -> None:
    """Write the loss curves of a run to loss.svg in its folder."""
    write_loss_plot(run.path / "loss.svg", {recipe.name: run.rows()})
