"""The training loop. Everything it calls is one short file away."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.inject import inject
from worldtune.adapters.start import frozen_factors
from worldtune.training.batches import Batches
from worldtune.training.birth import prove_born
from worldtune.training.checkpoint import find_checkpoint, newest_step, prune
from worldtune.training.data import TrainingData
from worldtune.training.export import export
from worldtune.training.finite import refuse_not_finite
from worldtune.training.fit import fit_machine, prepared
from worldtune.training.lineage import lineage
from worldtune.training.objective import loss_per_clip
from worldtune.training.recipe import Recipe, Train
from worldtune.training.run import RunFolder
from worldtune.training.state import TrainingState
from worldtune.training.team import ALONE, Team
from worldtune.training.validation import Row, best_of, chosen, is_out_of_patience, validate
from worldtune.worlds.world import World

OnStep = Callable[[int, float], None]
OnPreview = Callable[[World, int], None]


def train(
    world: World,
    recipe: Recipe,
    data: TrainingData,
    run: RunFolder,
    *,
    team: Team = ALONE,
    resume: bool = False,
    allow_change: bool = False,
    on_step: OnStep = lambda step, loss: None,
    on_preview: OnPreview = lambda world, step: None,
) -> AdapterCard:
    """Train the recipe's adapter on `world`, from the newest checkpoint when resuming, and export it.

    Raises BirthProofError when the adapter provably does nothing, UserError when a loss is not finite, a checkpoint
    cannot be written, a resumed run's base or datasets changed, or a process of the team is lost.
    """
    settings, shift = recipe.train, world.card.shift(recipe.train.shift)
    parameters = inject(prepared(world, settings), recipe.adapter, settings.seed)
    fit_machine(world, recipe.machine, team, settings.batch)
    newborn = prove_born(world, recipe.adapter, parameters, data.train, shift, team, settings.a_mode)
    state = TrainingState(parameters, settings, frozen_factors(world.denoiser))
    step = team.follow(newest_step(run.checkpoints)) if resume else 0
    if step:
        state.load(find_checkpoint(run.checkpoints, step))

    def keep(step: int) -> None:
        team.refuse_difference(parameters, step)
        if team.leads:
            state.save(run.checkpoints, step)
            best = best_of(run.validations)
            prune(run.checkpoints, settings.keep, best.step if best else None)
        team.wait()

    if step and is_over(run.rows_until(step), recipe, step):
        run.refuse_useless(recipe)
    origin = run.keep_lineage(lineage(world, recipe, data, team), allow_change=allow_change)
    run.keep_recipe(recipe)
    run.forget_after(step)
    if step == 0:
        run.log(step=0, **validate(world, recipe, data, state, team))

    with Batches(data, recipe, shift, team.share(settings.batch)) as batches:
        while not is_over(run.validations, recipe, step):
            state.forget_gradients()  # before the forward pass: they then never lie beside what it keeps
            parts, loss = batches.of(step), 0.0
            for part in parts:
                loss_B = loss_per_clip(world, part.z_BCTHW, part.text_BND, part.draws)
                refuse_not_finite("loss", loss_B, [part], run, step)
                (loss_B.sum() / settings.batch).backward()
                loss += loss_B.sum().item() / settings.batch
            team.sum_gradients(parameters.values())
            loss, norm, rate = team.total(loss), state.clip_gradients(), learning_rate(settings, step)
            refuse_not_finite("gradient's norm", norm, parts, run, step, keep=partial(keep, step))
            state.move(rate, step + 1)
            step += 1

            run.log(step=step, loss=loss, lr=settings.lr * rate, grad_norm=norm)
            on_step(step, loss)
            if step % recipe.check.every == 0 or step == settings.steps:
                run.log(step=step, **validate(world, recipe, data, state, team))
            if settings.preview_every and step % settings.preview_every == 0:
                on_preview(world, step)
            best = best_of(run.validations)
            if (
                step % settings.checkpoint_every == 0
                or (best and best.step == step)
                or is_over(run.validations, recipe, step)
            ):
                keep(step)

    step, average = chosen(run.validations, recipe, step)
    return export(world, recipe, data, run, state, newborn, origin, run.adapter, step, average, team)


def is_over(rows: Sequence[Row], recipe: Recipe, step: int) -> bool:
    """Whether training ends after `step` steps: they are all done, or the held-out loss of `rows` fell no more."""
    return step >= recipe.train.steps or is_out_of_patience(rows, recipe.check.patience)


def learning_rate(settings: Train, step: int) -> float:
    """The share of the highest rate in one step: linear warm-up, then constant, linear or cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    share = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return {"constant": 1.0, "linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share))}[settings.schedule]
