"""The beginning of a training session: everything that can be refused is refused before anything is written."""

from worldtune.latents.store import LatentStore
from worldtune.training.data import OnClip, TrainingData, prepare_data, unheard
from worldtune.training.lineage import lineage
from worldtune.training.recipe import Recipe
from worldtune.training.run import RunFolder
from worldtune.worlds.world import World


def prepare_run(
    world: World, recipe: Recipe, run: RunFolder, store: LatentStore, *, resume: bool, on_clip: OnClip = unheard
) -> TrainingData:
    """Start or resume `run`, encode its datasets, and keep its lineage and ledger.

    Raises UserError as `RunFolder` and `prepare_data` do; a refused resume leaves the run as it was.
    """
    if resume:
        run.resume(recipe)
    else:
        run.start(recipe)
    data = prepare_data(world, recipe, store, on_clip)
    run.keep_lineage(lineage(world, recipe, data))
    data.ledger.write(run.path / "ledger.parquet")
    return data
