"""The beginning of a training session: everything that can be refused is refused before anything is written."""

from worldtune.latents.store import LatentStore
from worldtune.training.data import OnClip, TrainingData, prepare_data, unheard
from worldtune.training.lineage import lineage
from worldtune.training.optimizers import refuse_absent
from worldtune.training.recipe import Recipe
from worldtune.training.run import RunFolder
from worldtune.training.team import ALONE, Team
from worldtune.worlds.world import World


def prepare_run(
    world: World,
    recipe: Recipe,
    run: RunFolder,
    store: LatentStore,
    *,
    resume: bool,
    allow_change: bool = False,
    on_clip: OnClip = unheard,
    team: Team = ALONE,
) -> TrainingData:
    """Start or resume `run`, encode its datasets, and keep its lineage and ledger.

    Raises UserError as `RunFolder` and `prepare_data` do; a refused resume leaves the run as it was.
    """
    refuse_absent(recipe.train)
    if resume:
        run.resume(recipe, allow_change=allow_change)
    else:
        run.start(recipe)
    data = prepare_data(world, recipe, store, on_clip, team)
    keep = run.same_lineage if resume else run.keep_lineage
    keep(lineage(world, recipe, data, team), allow_change=allow_change)
    if run.leads:
        data.ledger.write(run.path / "ledger.parquet")
    return data
