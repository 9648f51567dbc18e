"""The training loop. Everything it calls is one short file away.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

import math
from collections.abc import Callable

import torch

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.folder import save_adapter
from worldtune.errors import UserError
from worldtune.latents.dataset import load_batch
from worldtune.training.birth import give_birth, prove_grown
from worldtune.training.checkpoint import load_checkpoint, save_checkpoint
from worldtune.training.data import TrainingData, spread, step_clips
from worldtune.training.draws import training_draws
from worldtune.training.held_out import held_out_losses
from worldtune.training.lineage import adapter_card, lineage
from worldtune.training.objective import loss_per_clip
from worldtune.training.recipe import Recipe, Train
from worldtune.training.run import RunFolder
from worldtune.worlds.world import World

OnStep = Callable[[int, float], None]
OnPreview = Callable[[World, int], None]


def train(
    world: World,
    recipe: Recipe,
    data: TrainingData,
    run: RunFolder,
    *,
    resume: bool = False,
    on_step: OnStep = lambda step, loss: None,
    on_preview: OnPreview = lambda world, step: None,
) -> AdapterCard:
    """Train the recipe's adapter on `world`, from the newest checkpoint when resuming, and export it.

    Raises BirthProofError when the adapter provably does nothing, UserError when the loss is not finite or a resumed
    run's base or datasets changed.
    """
    settings, probe, shift = recipe.train, data.train[0], world.card.shift(recipe.train.shift)
    newborn = give_birth(world, recipe.adapter, probe, shift, settings.seed)
    world.denoiser.gradient_checkpointing = settings.checkpointing
    parameters = list(newborn.parameters.values())
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    origin = run.keep_lineage(lineage(world, recipe, data))
    step = load_checkpoint(run.checkpoints, newborn.parameters, optimizer) if resume else 0
    run.forget_after(step)
    if step == 0:
        validate(world, recipe, data, run, 0)

    while step < settings.steps:
        z_BCTHW, text_BND = load_batch(step_clips(data, recipe, step))
        draws = training_draws(z_BCTHW, settings.modes, shift, settings.text_dropout, settings.seed, step)
        text_BND = torch.where(draws.dropped_B[:, None, None], data.no_text_1ND, text_BND)

        optimizer.zero_grad()  # before the forward pass: gradients then never lie beside what it keeps
        loss = loss_per_clip(world, z_BCTHW, text_BND, draws).mean()
        if not loss.isfinite():
            raise UserError(f"the loss is {loss.item()} at step {step}", where=str(run.path), mend="Lower train.lr.")
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip_grad)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        optimizer.step()
        step += 1

        run.log(step=step, loss=loss.item(), lr=learning_rate(settings, step - 1), grad_norm=norm.item())
        on_step(step, loss.item())
        if step % recipe.check.every == 0 or step == settings.steps:
            validate(world, recipe, data, run, step)
        if step % settings.checkpoint_every == 0 or step == settings.steps:
            save_checkpoint(run.checkpoints, step, newborn.parameters, optimizer)
        if settings.preview_every and step % settings.preview_every == 0:
            on_preview(world, step)

    proof = prove_grown(world, newborn, probe, shift)
    return save_adapter(run.adapter, world.denoiser, adapter_card(world, recipe, origin, proof))


def learning_rate(settings: Train, step: int) -> float:
    """The rate of one step: linear warm-up, then constant, linear or cosine to zero."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    share = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    factor = {"constant": 1.0, "linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share))}
    return settings.lr * factor[settings.schedule]


def validate(world: World, recipe: Recipe, data: TrainingData, run: RunFolder, step: int) -> None:
    """Log the mean held-out loss, and that of the base's domain where the recipe names one."""
    losses = {"held_out_loss": data.held_out, "base_domain_loss": data.forgetting}
    check, shift, batch = recipe.check, world.card.shift(recipe.train.shift), recipe.train.batch
    row = {
        name: math.fsum(values) / len(values)
        for name, clips in losses.items()
        if (values := held_out_losses(world, spread(clips, check.clips), check.mode, check.sigmas, shift, batch))
    }
    run.log(step=step, **row)
