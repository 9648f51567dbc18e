"""`worldtune adapter export`: export weights of a run that training did not choose."""

from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.terminal.output import echo


def export(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A new adapter folder.")],
    step: Annotated[int | None, typer.Option(help="Step of the checkpoint (default: the newest).")] = None,
    average: Annotated[str | None, typer.Option(help="A moving average of train.ema, such as power-6.94.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU if there is one).")] = None,
) -> None:
    """Write the adapter of one of a run's checkpoints or moving averages.

    Training exports the weights with the lowest held-out loss; this verb exports others, after the same checks.

    Example:

        worldtune adapter export runs/my-robot --step 400 --average power-6.94 -o runs/my-robot/averaged
    """
    from worldtune.cli.terminal.progress import bars
    from worldtune.cli.training.printing import say_adapter
    from worldtune.training.export_checkpoint import export_checkpoint

    with bars() as progress:
        exported = export_checkpoint(run, out, step=step, average=average, device=device, progress=progress)
    say_adapter(exported)
    echo(f"next: worldtune adapter diff {run / 'adapter'} {out}")
