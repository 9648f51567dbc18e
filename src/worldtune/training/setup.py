"""Start of a training session: check everything that can be wrong before anything is written."""

from worldtune.core.progress import Progress, silent
from worldtune.latents.store import LatentStore
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import TrainingData, prepare_data
from worldtune.training.distributed import SINGLE_PROCESS, Distributed
from worldtune.training.optim.optimizers import check_installed
from worldtune.training.recipe import Recipe
from worldtune.training.run_folder import RunFolder
from worldtune.training.tracking.lineage import lineage


def prepare_run(
    world: World,
    recipe: Recipe,
    run: RunFolder,
    store: LatentStore,
    *,
    resume: bool,
    allow_change: bool = False,
    progress: Progress = silent,
    distributed: Distributed = SINGLE_PROCESS,
) -> TrainingData:
    """Start or resume `run`, encode its datasets, and write its lineage and ledger.

    Raise UserError as `RunFolder` and `prepare_data` do; a run that cannot be resumed is left unchanged.
    """
    check_installed(recipe.train)
    if resume:
        run.resume(recipe, allow_change=allow_change)
    else:
        run.start(recipe)
    data = prepare_data(world, recipe, store, progress, distributed)
    check_or_save = run.check_lineage if resume else run.save_lineage
    check_or_save(lineage(world, recipe, data, distributed), allow_change=allow_change)
    if run.is_main:
        data.ledger.write(run.path / "ledger.parquet")
    return data
