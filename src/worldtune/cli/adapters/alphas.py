"""`--alpha`: the alpha of adapters whose files do not state it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldtune.errors import UserError

if TYPE_CHECKING:
    from worldtune.adapters.alphas import Alphas
    from worldtune.adapters.formats import Alpha

AlphaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--alpha",
        metavar="rank|NUMBER",
        help="For files that state no alpha: each layer's rank, or one number. ADAPTER=NUMBER is for one adapter.",
    ),
]


def read_alphas(options: Sequence[str] | None) -> "Alphas":
    """Return the alphas that the `--alpha` options give.

    Raise UserError if a value is neither "rank" nor a number, or an adapter has two values.
    """
    from worldtune.adapters.alphas import HOW, Alphas

    common: list[Alpha] = []
    by_path: dict[Path, Alpha] = {}
    for text in options or ():
        name, equals, value = text.rpartition("=")
        if not equals:
            common.append(_alpha(value))
            continue
        path = Path(name).expanduser()
        if path in by_path:
            raise UserError(f"two alphas given for {name}", where="--alpha", hint=HOW)
        by_path[path] = _alpha(value)
    if len(common) > 1:
        raise UserError(f"{len(common)} alphas given for all adapters", where="--alpha", hint=HOW)
    return Alphas(common[0] if common else None, by_path)


def _alpha(text: str) -> "Alpha":
    from worldtune.adapters.alphas import HOW

    if text == "rank":
        return "rank"
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"'{text[:40]}' is not an alpha", where="--alpha", hint=HOW) from error
