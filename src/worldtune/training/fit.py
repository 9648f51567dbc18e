"""A base and its adapter onto this machine, as a recipe's `machine` section says."""

from diffusers import CosmosTransformer3DModel
from torch.distributed.device_mesh import init_device_mesh

from worldtune.errors import RecipeError
from worldtune.training.recipe import Machine, Train
from worldtune.training.team import Team, refuse_context
from worldtune.worlds.denoiser import Execution, make_precise
from worldtune.worlds.offload import Offload, Visit, stay
from worldtune.worlds.recompute import Recompute, to_host
from worldtune.worlds.sharded import Shards
from worldtune.worlds.world import World

BEFORE: Offload = "group"
"""How a base that will be trained on is opened: while clips and prompts are encoded, its parts take turns."""


def prepared(world: World, settings: Train) -> CosmosTransformer3DModel:
    """The bare denoiser of a world, quantised and made precise as a recipe says.

    Raises ValueError for a world that was quantised otherwise.
    """
    if world.quantised not in (None, settings.quantise):
        raise ValueError(f"the world is quantised to {world.quantised}, the recipe says {settings.quantise}")
    if settings.quantise and world.quantised is None:
        world.quantise(settings.quantise)
    if settings.precise:
        make_precise(world.denoiser)
    return world.denoiser


def refuse_processes(machine: Machine, batch: int, processes: int) -> None:
    """Raises UserError for a number of processes that cannot share a batch, or a base, as the recipe says."""
    refuse_context(machine.context, processes)
    replicas = processes // machine.context
    if batch < replicas:
        what = f"a batch of {batch} leaves some of {replicas} replicas without a clip"
        raise RecipeError(what, where="train.batch", mend="Raise it, or raise machine.context.")
    if machine.shard_base and batch % replicas:
        what = f"a batch of {batch} is not the same for each of {replicas} replicas, which share the base"
        raise RecipeError(what, where="train.batch", mend=f"Take a multiple of {replicas}.")
    if machine.shard_base and processes == 1:
        mend = "Start several with torchrun, or take machine.stream_base=true."
        raise RecipeError(
            "there is one process, which must hold all of the base", where="machine.shard_base", mend=mend
        )


def fit_machine(world: World, machine: Machine, team: Team, batch: int) -> None:
    """Set up `world`, its adapter injected, to compute as `machine` says on the processes of `team`.

    Raises UserError as `refuse_processes` does.
    """
    refuse_processes(machine, batch, team.size)
    if not (machine.stream_base or machine.shard_base):
        world.settle()
    for parameter in world.denoiser.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(world.device)
    away = to_host if machine.offload_checkpoints else None
    recompute = Recompute(machine.checkpointing, machine.checkpoint_blocks, away)
    visit: Visit = stay
    if machine.shard_base:
        shape, names = (team.size // team.local, team.local), ("machine", "process")
        mesh = init_device_mesh(world.device.type, shape, mesh_dim_names=names)
        visit = Shards(world.denoiser.transformer_blocks, mesh["process"]).visit
    world.how = Execution(visit, recompute, team.context, machine.compile)
