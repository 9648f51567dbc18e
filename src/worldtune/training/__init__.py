"""Training: the recipe, the loop, held-out loss, checkpoints and the run folder."""
