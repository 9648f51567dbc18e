"""`worldtune encode`: encode clips and prompts into the latent store before training."""

from typing import Annotated

import typer

from worldtune.cli.executor import Executor
from worldtune.cli.terminal.output import echo, say_first


def encode(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `worldtune recipes`) or its YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, such as data.path=my/data")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU if there is one).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that encode in parallel; each loads the base.")] = 1,
    executor: Annotated[Executor, typer.Option(help="local: on this machine; ray: on a Ray cluster.")] = Executor.local,
) -> None:
    """Encode clips and prompts into the latent store.

    Training also does this itself; encoding on another machine keeps the text encoder and the codec off the training
    GPU. Content that is already in the store is not encoded again, so an interrupted encode resumes. With --executor
    ray, RAY_ADDRESS names the cluster; its machines must see the datasets, the base and the store ($XDG_CACHE_HOME)
    under the same paths.

    Example:

        worldtune encode pocket-new-view --workers 2
    """
    say_first("encode: opening the base and its data")
    import worldtune
    from worldtune.cli.terminal.progress import bars
    from worldtune.cli.training.printing import say_data
    from worldtune.training.encode import encode_recipe

    loaded = worldtune.load_recipe(recipe, overrides or [])
    with bars() as progress:
        data, folder = encode_recipe(
            loaded, device=device, workers=workers, ray=executor == Executor.ray, progress=progress
        )
    say_data(data)
    echo(folder)
