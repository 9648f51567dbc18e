"""`worldtune train --launch`: submit a run to a cluster, or print its job file."""

from pathlib import Path
from typing import TYPE_CHECKING

from worldtune.cli.terminal.output import echo_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worldtune.training.launch.render import Cluster


def launch(cluster: "Cluster", recipe: str, overrides: "Sequence[str]", out: Path, *, only_render: bool) -> None:
    """Submit the job, or with `only_render` print its file. Raise UserError as `render` and `submit` do."""
    from worldtune.training.launch.render import render
    from worldtune.training.launch.submit import submit

    job = render(cluster, recipe, overrides, out)
    if only_render:
        echo_text(job, end="")
    else:
        submit(cluster, job, out)
