"""A training run as the command line shows it: two progress bars, a preview, a loss plot."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from worldtune.cli.output import echo
from worldtune.cli.progress import progress

if TYPE_CHECKING:
    from worldtune.adapters.card import AdapterCard
    from worldtune.training.data import TrainingData
    from worldtune.training.recipe import Recipe
    from worldtune.training.run import RunFolder
    from worldtune.training.team import Team
    from worldtune.worlds.world import World


def train_run(
    world: "World",
    recipe: "Recipe",
    run: "RunFolder",
    *,
    resume: bool,
    allow_change: bool = False,
    team: "Team | None" = None,
) -> "AdapterCard":
    """Start or resume `run`, train, and draw the loss plot. The world is left bare again."""
    from worldtune.adapters.folder import remove_adapter
    from worldtune.cli.speed import Speed
    from worldtune.evaluation.report.plots import write_loss_plot
    from worldtune.training.data import default_store
    from worldtune.training.loop import train
    from worldtune.training.session import prepare_run
    from worldtune.training.team import ALONE
    from worldtune.training.trackers import tracked
    from worldtune.worlds.denoiser import PLAIN

    team = team or ALONE
    if resume:
        run.must_exist()
    with run.locked():
        with progress("encode", shown=team.leads) as advance:
            data = prepare_run(
                world,
                recipe,
                run,
                default_store(),
                resume=resume,
                allow_change=allow_change,
                on_clip=advance,
                team=team,
            )
        if team.leads:
            echo_data(data)
            if resume:
                echo_resumed(run, recipe)
        speed = Speed(recipe)

        def told(step: int, loss: float) -> None:
            advance(step, recipe.train.steps, speed.note(loss, run.validations))

        with ExitStack() as within:
            within.enter_context(team.naming_the_lost())
            if team.leads:
                config = recipe.model_dump(mode="json", by_alias=True)
                for name in recipe.track.to:
                    echo(f"tracked by {name}, as {run.path.name}")
                run.on_row = within.enter_context(tracked(recipe.track, run.path.name, run.path, config))
            advance = within.enter_context(progress(f"train {recipe.name}", shown=team.leads))
            within.enter_context(run.timed())
            card = train(
                world,
                recipe,
                data,
                run,
                team=team,
                resume=resume,
                allow_change=allow_change,
                on_step=told if team.leads else lambda step, loss: None,
                on_preview=lambda world, step: write_preview(
                    world, data, run.previews / f"step-{step:06d}.mp4" if team.leads else None
                ),
            )
        remove_adapter(world.denoiser)
        world.how = PLAIN
        if team.leads:
            write_loss_plot(run.path / "loss.svg", {recipe.name: run.rows()})
    return card


def say_adapter(run: "RunFolder", folder: Path, card: "AdapterCard") -> None:
    """Where an adapter of a run is, and whether it is better on what it has not seen than its base."""
    from worldtune.training.validation import exported_losses

    of_average = f" of {card.average}" if card.average else ""
    echo(f"adapter  {folder}  ({card.weights_digest[:12]}, step {card.step}{of_average})")
    rows = run.rows()
    before, after = exported_losses(rows, card.step, card.average)
    if before is None or after is None:
        echo("held-out loss not measured: at this step, or nothing is held out (data.held_out)")
        return
    count = sum(part["clips"] for part in rows[0]["held_out"]["task"].values())
    echo(f"held-out loss  {before:.3f} → {after:.3f}  ({count} clip{'s' if count > 1 else ''})")
    if after >= before:
        echo("  NOT BETTER than the base on clips it has not seen: do not use this adapter; lower train.lr", err=True)


def echo_data(data: "TrainingData") -> None:
    """What will be trained on, and what of the datasets will not and why."""
    mixed = "".join(f", {len(clips)} of {name}" for name, clips in data.mixed.items())
    echo(f"{len(data.train)} clips to train on, {len(data.held_out)} held out{mixed}")
    for reason, count in data.ledger.reasons().items():
        echo(f"  not used: {count} × {reason}")
    for note, count in data.ledger.notes().items():
        echo(f"  used, but: {count} × {note}")


def echo_resumed(run: "RunFolder", recipe: "Recipe") -> None:
    """Where a run goes on."""
    from worldtune.training.checkpoint import newest_step
    from worldtune.training.loop import is_over

    step, steps = newest_step(run.checkpoints), recipe.train.steps
    over = step and is_over(run.rows_until(step), recipe, step)
    echo(f"nothing is left to train after step {step}" if over else f"goes on after step {step} of {steps}")


def write_preview(world: "World", data: "TrainingData", path: Path | None) -> None:
    """The first held-out clip, generated with the adapter as it is now, beside the truth.

    Without a path it is generated alone, as by a process that shares the work with the one that writes.
    """
    import numpy as np

    from worldtune.episodes.clip import read_clip
    from worldtune.evaluation.report.preview_video import write_preview as write
    from worldtune.evaluation.sampling_plan import SamplingPlan
    from worldtune.evaluation.suite import image2world
    from worldtune.files import atomic_file

    clip = (data.held_out or data.train)[0]
    (frames_THWC,) = image2world(world, [clip], SamplingPlan()).values()
    world.release_encoders()
    if path is None:
        return
    with atomic_file(path) as partial:
        write(partial, np.concatenate([read_clip(clip.clip), frames_THWC], axis=2), clip.clip.fps)
