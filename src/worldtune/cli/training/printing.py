"""Print a training run: its clips, where it continues, and its result."""

import os
from typing import TYPE_CHECKING

from worldtune.cli.terminal.output import echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from worldtune.adapters.card import AdapterCard
    from worldtune.cli.terminal.progress import Bars
    from worldtune.training.data.encode_datasets import TrainingData
    from worldtune.training.recipe import Recipe
    from worldtune.training.session import TrainingRun, TrainingStart


def is_main_process() -> bool:
    """Return whether this process prints for the user: under torchrun, only the process of rank 0 does."""
    return os.environ.get("RANK", "0") == "0"


def start_printer(bars: "Bars", recipe: "Recipe", run_name: str) -> "Callable[[TrainingStart], None]":
    """Return a function that closes the encoding bar and prints the clips to train on."""

    def print_start(start: "TrainingStart") -> None:
        bars.close()
        _say_start(start, recipe, run_name)

    return print_start


def _say_start(start: "TrainingStart", recipe: "Recipe", run_name: str) -> None:
    """Print the clips to train on, the step after which a resumed run continues, and the trackers."""
    say_data(start.data)
    if start.is_complete:
        echo(f"training is already complete after step {start.resumed_after}")
    elif start.resumed_after is not None:
        echo(f"continues after step {start.resumed_after} of {recipe.train.steps}")
    for name in recipe.track.to:
        echo(f"tracked by {name}, as {run_name}")


def say_data(data: "TrainingData") -> None:
    """Print how many clips are used, and the reasons why others are not."""
    mixed = "".join(f", {len(clips)} from {name}" for name, clips in data.mixed.items())
    echo(f"{len(data.train)} clips to train on, {len(data.held_out)} held out{mixed}")
    for reason, count in data.ledger.reasons().items():
        echo(f"  not used: {count} × {reason}")
    for note, count in data.ledger.notes().items():
        echo(f"  used, but: {count} × {note}")


def say_run(run: "TrainingRun") -> None:
    """Print why a run ended early, its preflight check, its adapter, and the next command."""
    steps, last = run.recipe.train.steps, max(row["step"] for row in run.metrics)
    if last < steps:
        why = f"{run.recipe.check.patience} validations in a row did not improve (validate.patience)"
        echo(f"stopped after step {last} of {steps}: {why}")
    if preflight := run.card.preflight:
        echo(
            f"checked  {preflight.base_tensors:,} base tensors loaded, {preflight.wrapped_modules} layers adapted, "
            f"{preflight.reached_tensors} tensors trained, first loss {preflight.first_loss:.3f}, no change at step 0"
        )
    say_adapter(run)
    if run.recipe.data.can_be_evaluated:
        echo(f"next: worldtune evaluate {run.folder} --gates default")


def say_adapter(run: "TrainingRun") -> None:
    """Print a run's adapter, and whether it is better than the base on held-out clips."""
    card: AdapterCard = run.card
    of_average = f" of {card.average}" if card.average else ""
    echo(f"adapter  {run.adapter}  ({card.weights_digest[:12]}, step {card.step}{of_average})")
    before, after = run.held_out_loss
    if before is None or after is None:
        echo("held-out loss not measured: no validation at this step, or no held-out clips (data.held_out)")
        return
    count = sum(task["clips"] for task in run.metrics[0]["held_out"]["task"].values())
    echo(f"held-out loss  {before:.3f} → {after:.3f}  ({count} clip{'s' if count > 1 else ''})")
    if after >= before:
        echo("  NOT BETTER than the base on clips it has not seen: do not use this adapter; lower train.lr", err=True)
