"""`worldtune encode`: clips and prompts into the latent store, before training."""

from functools import partial
from typing import Annotated

import typer

from worldtune.cli.executor import Executor
from worldtune.cli.output import echo


def encode(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `worldtune recipes`) or its YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, as data.path=my/data")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that encode at once, each with a base of its own.")
    ] = 1,
    executor: Annotated[Executor, typer.Option(help="local: of this machine; ray: of a Ray cluster.")] = Executor.local,
) -> None:
    """Encode clips and prompts into the latent store.

    Training does this by itself; on a machine of its own it keeps the text encoder and the codec off the
    training GPU. What is in the store already, by content, is not encoded again: an encode that was cut off goes
    on where it was. With --executor ray the cluster is the one that RAY_ADDRESS names; its machines must see
    the datasets, the base and the store ($XDG_CACHE_HOME) under the same paths.

    Example:

        worldtune encode pocket-new-view --workers 2
    """
    from worldtune.cli.progress import progress
    from worldtune.cli.recipes import find_recipe
    from worldtune.cli.training import echo_data
    from worldtune.latents.on_ray import encode_on_ray
    from worldtune.latents.workers import Encoder, encode_in_processes
    from worldtune.training.data import default_store, prepare_data
    from worldtune.worlds.load import open_world_on

    loaded = find_recipe(recipe, overrides or [])
    store = default_store()
    world = open_world_on(device, loaded.base)
    encoder = Encoder.like(world, store, workers)
    spread = {Executor.local: encode_in_processes, Executor.ray: encode_on_ray}[executor]
    alone = workers == 1 and executor == Executor.local
    with progress("encode") as advance:
        data = prepare_data(
            world, loaded, store, advance, elsewhere=None if alone else partial(spread, encoder, workers)
        )
    echo_data(data)
    echo(store.folder)
