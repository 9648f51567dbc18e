"""Set up a base and its adapter on this machine, by the recipe's `machine` section."""

from diffusers import CosmosTransformer3DModel
from torch.distributed.device_mesh import init_device_mesh

from worldtune.errors import RecipeError
from worldtune.models.memory.activation_checkpoint import ActivationCheckpoint, to_host
from worldtune.models.memory.fsdp import ShardedBlocks
from worldtune.models.memory.offload import Offload, ResidentContext, no_offload
from worldtune.models.transformer.denoiser import Execution, keep_modulation_fp32
from worldtune.models.world import World
from worldtune.training.distributed import Distributed, check_context_parallel
from worldtune.training.recipe import Machine, Train

BEFORE: Offload = "group"
"""Offload of a base that is opened for training: its parts share the GPU while clips and prompts are encoded."""


def prepare_denoiser(world: World, settings: Train) -> CosmosTransformer3DModel:
    """Return the denoiser of a world, quantized and with fp32 modulation if the recipe says so.

    Raise ValueError if the world is already quantized to another type.
    """
    if world.quantized not in (None, settings.quantization):
        raise ValueError(f"the world is quantized to {world.quantized}, the recipe says {settings.quantization}")
    if settings.quantization and world.quantized is None:
        world.quantize(settings.quantization)
    if settings.modulation_fp32:
        keep_modulation_fp32(world.denoiser)
    return world.denoiser


def check_processes(machine: Machine, batch: int, processes: int) -> None:
    """Raise UserError if this number of processes cannot share a batch, or the base, as the recipe says."""
    check_context_parallel(machine.context_parallel, processes)
    replicas = processes // machine.context_parallel
    if batch < replicas:
        what = f"a batch of {batch} leaves some of {replicas} replicas without a clip"
        raise RecipeError(what, where="train.batch", hint="Raise train.batch or machine.context_parallel.")
    if machine.shard_base and batch % replicas:
        what = f"a batch of {batch} does not divide evenly among {replicas} replicas, which machine.shard_base needs"
        raise RecipeError(what, where="train.batch", hint=f"Choose a multiple of {replicas}.")
    if machine.shard_base and processes == 1:
        hint = "Start several with torchrun, or use machine.offload_base=true."
        raise RecipeError("one process cannot shard the base", where="machine.shard_base", hint=hint)


def apply_machine_config(world: World, machine: Machine, distributed: Distributed, batch: int) -> None:
    """Set up `world` with its injected adapter for the settings of `machine` and the processes of `distributed`.

    Raise UserError as `check_processes` does.
    """
    check_processes(machine, batch, distributed.size)
    if not (machine.offload_base or machine.shard_base):
        world.move_to_device()
    for parameter in world.denoiser.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(world.device)
    offload = to_host if machine.offload_activations else None
    activation_checkpoint = ActivationCheckpoint(machine.checkpointing, machine.checkpoint_blocks, offload)
    resident: ResidentContext = no_offload
    if machine.shard_base:
        shape, names = (distributed.size // distributed.local, distributed.local), ("machine", "process")
        mesh = init_device_mesh(world.device.type, shape, mesh_dim_names=names)
        resident = ShardedBlocks(world.denoiser.transformer_blocks, mesh["process"]).resident
    world.execution = Execution(resident, activation_checkpoint, distributed.context, machine.compile)
