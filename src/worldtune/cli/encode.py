"""`worldtune encode`: clips and prompts into the latent store, before training."""

from typing import Annotated

import typer


def encode(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `worldtune recipes`) or its YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, as data.path=my/data")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")] = None,
) -> None:
    """Encode clips and prompts into the latent store.

    Training does this by itself; on a machine of its own it keeps the text encoder and the codec off the
    training GPU. What is in the store already, by content, is not encoded again.

    Example:

        worldtune encode pocket-new-view
    """
    from worldtune.cli.progress import progress
    from worldtune.cli.recipes import find_recipe
    from worldtune.cli.training import echo_data
    from worldtune.training.data import default_store, prepare_data
    from worldtune.worlds.load import open_world_on

    loaded = find_recipe(recipe, overrides or [])
    store = default_store()
    with progress("encode") as advance:
        data = prepare_data(open_world_on(device, loaded.base), loaded, store, advance)
    echo_data(data)
    typer.echo(store.folder)
