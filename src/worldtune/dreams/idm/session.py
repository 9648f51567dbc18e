"""Train an IDM on a recipe's dataset: open the data, train the ensemble, measure it on held-out clips, and save it."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from worldtune.core.actions.space import ActionSpace
from worldtune.core.code_commit import code_commit
from worldtune.core.files import atomic_file, digest_json, lock_folder, scratch_folder, write_json
from worldtune.core.progress import Progress, silent, stage
from worldtune.core.seeds import derive_seed
from worldtune.core.tensors.read import read_safetensors
from worldtune.core.version import __version__
from worldtune.data.dataset import Dataset, open_dataset
from worldtune.dreams.idm.card import IdmCard, describe_actions
from worldtune.dreams.idm.encoder import encoder_digest, make_network
from worldtune.dreams.idm.evaluate import evaluate_clips
from worldtune.dreams.idm.examples import Examples, make_examples
from worldtune.dreams.idm.model import InverseDynamics, save_idm
from worldtune.dreams.idm.network import InverseDynamicsNetwork
from worldtune.dreams.idm.path import SIGMA_RATIO
from worldtune.dreams.idm.statistics import TargetStatistics, measure_gain
from worldtune.dreams.idm.train import train_network
from worldtune.errors import RecipeError, UserError
from worldtune.latents.store import default_store
from worldtune.models.load import open_world_on
from worldtune.models.world import World
from worldtune.training.recipe import Recipe, dump_recipe, load_recipe


@dataclass(frozen=True, eq=False)
class IdmRun:
    """A finished training of inverse dynamics: its folder, the IDM, and the recipe."""

    folder: Path
    idm: InverseDynamics
    recipe: Recipe

    @property
    def card(self) -> IdmCard:
        """The card, with the figures on held-out clips."""
        return self.idm.card


def train_idm(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    device: str | None = None,
    base: World | None = None,
    progress: Progress = silent,
) -> IdmRun:
    """Train an ensemble on the recipe's training clips into the folder `out`, and return the run.

    A network that is complete is kept, so that `resume` continues with the next one. Raise RecipeError if the recipe
    declares no action space; DataError if the dataset has no actions; UserError if the folder holds another run.
    """
    space = _action_space(recipe)
    _check_folder(out, recipe, resume)
    world = base or open_world_on(device, recipe.base)
    with lock_folder(out), scratch_folder() as scratch:
        with atomic_file(out / "recipe.yaml") as partial:
            partial.write_text(dump_recipe(recipe))
        dataset = open_dataset(recipe.data)
        dataset.ledger.write(out / "ledger.parquet")
        store = default_store()
        settings = recipe.idm
        read = stage(progress, "read clips")
        examples = make_examples(dataset.train, space, settings.side, scratch, world, store, read)
        statistics = TargetStatistics.of(examples)
        networks = _train_members(recipe, examples, statistics, out / "members", progress)
        card = _card(recipe, dataset, examples, statistics, world, space)
        idm = save_idm(out / "idm", networks, card)
        if dataset.held_out and card.state_names:
            held_out = evaluate_clips(idm, dataset.held_out, world, store)
            idm = save_idm(out / "idm", networks, card.model_copy(update={"held_out": held_out}))
        write_json(out / "lineage.json", idm.card.lineage)
    return IdmRun(out, idm, recipe)


def _action_space(recipe: Recipe) -> ActionSpace:
    if recipe.data.action_space is None:
        hint = "Add data.action_space={kind: delta} or {kind: absolute}: data alone cannot tell one from the other."
        raise RecipeError("the recipe does not declare what `action` means", where=recipe.name, hint=hint)
    return recipe.data.action_space


def _check_folder(out: Path, recipe: Recipe, resume: bool) -> None:
    """Raise UserError if the folder holds a run that is not to be resumed, or one of other settings."""
    path = out / "recipe.yaml"
    if resume and not path.is_file():
        raise UserError("there is no run to resume", where=str(out), hint="Omit --resume.")
    if not resume and path.exists():
        hint = "Continue it with --resume, or choose another folder with --out."
        raise UserError("there is already a run in this folder", where=str(out), hint=hint)
    if resume and _identity(load_recipe(path, [])) != _identity(recipe):
        hint = "Resume with the run's own recipe.yaml, or choose another folder with --out."
        raise UserError(
            "the base, data or idm section has changed since this run was started", where=str(out), hint=hint
        )


def _identity(recipe: Recipe) -> str:
    return digest_json(recipe.model_dump(mode="json", include={"base", "data", "idm"}))


def _train_members(
    recipe: Recipe, examples: Examples, statistics: TargetStatistics, folder: Path, progress: Progress
) -> list[InverseDynamicsNetwork]:
    networks = []
    for number in range(recipe.idm.members):
        path = folder / f"{number}.safetensors"
        if path.is_file():
            commands, states = (len(part.mean) for part in (statistics.command, statistics.state))
            network = make_network(recipe.idm.encoder, commands, states).eval()
            network.load_state_dict(read_safetensors(path))
        else:
            advance = stage(progress, f"train network {number + 1} of {recipe.idm.members}")
            seed = derive_seed(recipe.idm.seed, number)
            network = train_network(examples, statistics, recipe.idm, seed, advance)
            with atomic_file(path) as partial:
                save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, partial)
        networks.append(network)
    return networks


def _card(
    recipe: Recipe,
    dataset: Dataset,
    examples: Examples,
    statistics: TargetStatistics,
    world: World,
    space: ActionSpace,
) -> IdmCard:
    states = examples.states_NTS.shape[-1]
    names = tuple(dataset.state_names) if len(dataset.state_names) == states else ("",) * states
    first = dataset.train[0]
    assert first.actions is not None
    return IdmCard(
        name=recipe.name,
        base=world.card.name,
        base_digest=world.card.digest,
        codec_digest=world.card.codec_digest,
        action_space=space,
        action_size=first.actions.shape[1],
        action_holds=describe_actions(space),
        state_names=names,
        cameras=tuple(sorted({clip.camera for clip in dataset.train})),
        tasks=tuple(sorted({clip.task for clip in dataset.train})),
        frames=recipe.data.frames,
        fps=recipe.data.fps,
        height=recipe.data.height,
        width=recipe.data.width,
        fit=recipe.data.fit,
        encoder=recipe.idm.encoder,
        encoder_digest=encoder_digest(recipe.idm.encoder),
        side=recipe.idm.side,
        members=recipe.idm.members,
        statistics=statistics,
        sigma_ratio=SIGMA_RATIO,
        gain=measure_gain(examples, space),
        held_out=None,
        weights_digest="",
        lineage=_lineage(recipe, dataset, world),
    )


def _lineage(recipe: Recipe, dataset: Dataset, world: World) -> dict[str, Any]:
    return {
        "recipe": _identity(recipe),
        "datasets": {"data": dataset.digest},
        "clips": {"train": len(dataset.train), "held_out": len(dataset.held_out)},
        "base": {"source": world.card.source, "revision": world.card.revision, "digest": world.card.digest},
        "seed": recipe.idm.seed,
        "worldtune": __version__,
        "code": code_commit(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "av")},
    }
