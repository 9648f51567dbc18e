"""A Predict 2 base is trained by the same loop, with its own noise levels."""

import math
from pathlib import Path

import pytest

from support.training import small_data, small_recipe
from worldtune.adapters.folder import load_adapter
from worldtune.errors import RecipeError
from worldtune.models.load import open_world
from worldtune.training.loop import train
from worldtune.training.run_folder import RunFolder
from worldtune.training.validation.held_out_loss import held_out_losses

MODES = {"image2world": 0.5, "video2world": 0.5}


def test_small_training_lowers_the_held_out_loss(tiny_predict2: Path, videos: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tiny_predict2, videos, steps=30, lr=0.02, batch=4, modes=MODES)
    world, run = open_world(str(tiny_predict2)), RunFolder(tmp_path / "run")
    data = small_data(world, recipe, tmp_path / "store")
    run.start(recipe)
    card = train(world, recipe, data, run)
    losses = [row["held_out_loss"] for row in run.rows() if "held_out_loss" in row]
    assert losses[-1] < 0.8 * losses[0]

    other = open_world(str(tiny_predict2))
    before = held_out_losses(other, data.held_out, "image2world", 2, None, 3)
    assert math.fsum(before) / len(before) == pytest.approx(losses[0], rel=1e-6)  # at Predict 2's levels, not shift 5's
    assert load_adapter(run.adapter, other.denoiser, other.card.digest) == card


def test_text2world_is_an_error_for_a_base_that_needs_an_image(
    tiny_predict2: Path, videos: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_predict2, videos)
    with pytest.raises(RecipeError, match="modes has text2world"):
        small_data(open_world(str(tiny_predict2)), recipe, tmp_path)
