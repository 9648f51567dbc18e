"""The planner's predictions against this GPU: memory and time of training steps and videos of the 2B.

The weights are random, because they affect neither memory nor time. Needs a GPU, and no download.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from benchmarks.ratio import Work, timed
from benchmarks.training.training_steps import BASE_2B, step_of
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.progress import Progress, silent
from worldtune.errors import UserError
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.generation.sampler import BATCHED_LATENTS, Guidance, guided
from worldtune.models.catalog import BY_NAME, KnownBase
from worldtune.models.memory.offload import Offload
from worldtune.models.quantization.linear import Kind
from worldtune.models.vae.codec import Codec
from worldtune.models.vae.full_clip import WholeClipVae
from worldtune.models.vae.shapes import SPATIAL, latent_frames
from worldtune.models.world import World
from worldtune.planning.generation import GUIDANCE, plan_generation
from worldtune.planning.gpus import GIB
from worldtune.planning.meta_models import meta_denoiser, meta_vae, meta_world, text_length
from worldtune.planning.training import Precision, plan_on
from worldtune.training.apply_machine_config import BEFORE, apply_machine_config, prepare_denoiser
from worldtune.training.distributed import init_distributed
from worldtune.training.recipe import Machine, Train
from worldtune.training.state import TrainingState

MEMORY_TOLERANCE = 0.1  # share of the predicted memory
CUDA = torch.device("cuda")


@dataclass(frozen=True)
class Setting:
    """A recipe's memory settings: `machine` and `train.quantization`."""

    machine: Mapping[str, object]
    quantize: Kind | None = None


@dataclass(frozen=True)
class Extent:
    """The extent of the bench: a base, the size of its clips, the rounds of each timing, settings and offloads."""

    base: KnownBase
    size: tuple[int, int, int]  # frames, height, width
    rounds: int
    settings: Mapping[str, Setting]
    offloads: tuple[Offload, ...] = ("none", "group")
    spec: AdapterSpec = field(default_factory=lambda: AdapterSpec(rank=32))


SETTINGS = {
    "selective checkpointing": Setting({"checkpointing": "selective"}),
    "full checkpointing": Setting({"checkpointing": "full"}),
    "full, compiled": Setting({"checkpointing": "full", "compile": True}),
    "full, checkpoints offloaded": Setting({"checkpointing": "full", "offload_activations": True}),
    "full, base streamed": Setting({"checkpointing": "full", "offload_base": True}),
    "full, int8": Setting({"checkpointing": "full"}, "int8"),
    "full, fp8": Setting({"checkpointing": "full"}, "fp8"),
    "full, nf4": Setting({"checkpointing": "full"}, "nf4"),
}
FULL = Extent(BASE_2B, (93, 432, 768), 3, SETTINGS)
QUICK = Extent(
    BY_NAME["pocket"],
    (9, 64, 64),
    1,
    {name: setting for name, setting in SETTINGS.items() if not setting.machine.get("compile")},
)


def measure(*, quick: bool, on_part: Progress = silent) -> list[Figure]:
    """Measure every figure. `quick` takes the pocket world without goals, because scratch memory dominates there.

    Raise UserError if there is no GPU.
    """
    if not torch.cuda.is_available():
        raise UserError("there is no GPU here", where="bench gpu", hint="Run it on a machine with a GPU.")
    extent, rows = QUICK if quick else FULL, []
    parts = [
        *(partial(_training, name, setting, extent, quick) for name, setting in extent.settings.items()),
        *(partial(_video, offload, extent, quick) for offload in extent.offloads),
    ]
    for done, part in enumerate(parts, 1):
        rows += part()
        on_part(done, len(parts))
    return rows


def _training(name: str, setting: Setting, extent: Extent, quick: bool) -> list[Figure]:
    machine = Machine.model_validate(setting.machine)
    precision = Precision(quantized=setting.quantize)
    planned = plan_on(machine, extent.base, extent.spec, (1, *extent.size), precision=precision)
    step = _step(machine, setting.quantize, extent)
    step()  # compiles, and makes the optimizer's moments
    peak, seconds = _measure_peak(step, extent.rounds)
    del step
    return [
        *_memory(f"step, {name}", planned.peak, peak, quick),
        figure(f"step, {name}: time", seconds, "s", "lower"),
        figure(f"step, {name}: speed", planned.flops / seconds / 1e12, "TFLOP/s", "higher"),
    ]


def _step(machine: Machine, quantized: Kind | None, extent: Extent) -> Work:
    """Return one step of the trainer with one clip."""
    train = Train(lr=1e-5, quantization=quantized)
    world = random_world(extent.base, BEFORE if machine.offload_base else "none")
    parameters = inject(prepare_denoiser(world, train), extent.spec, seed=0)
    apply_machine_config(world, machine, init_distributed(), 1)
    text_BND = torch.randn(1, text_length(extent.base), extent.base.architecture.text_dim)
    clips = torch.randn(_latents(extent)), text_BND
    return step_of(world, TrainingState(parameters, train), clips, torch.zeros_like(text_BND))


@torch.no_grad()
def _video(offload: Offload, extent: Extent, quick: bool) -> list[Figure]:
    """Measure one guided velocity and one decoding of a sampled clip, without the text encoder."""
    planned = plan_generation(extent.base, *extent.size)
    world = random_world(extent.base, offload)
    with CUDA:
        vae = meta_vae(extent.base, torch.bfloat16)
    world.codec = Codec(WholeClipVae(vae.to("cpu") if offload != "none" else vae), CUDA)
    shape = _latents(extent)
    text_1ND = torch.randn(1, text_length(extent.base), extent.base.architecture.text_dim, device=CUDA)
    x_BCTHW, cond_mask_BT = torch.randn(shape, device=CUDA), torch.zeros(1, shape[2], device=CUDA)
    batched = x_BCTHW.numel() <= BATCHED_LATENTS
    velocity = guided(world, Guidance(text_1ND, text_1ND, GUIDANCE), cond_mask_BT, batched=batched)
    rows: list[Figure] = []
    phases: dict[str, Work] = {
        "denoise": lambda: velocity(x_BCTHW, torch.full_like(cond_mask_BT, 0.5)),
        "decode": lambda: world.decode(x_BCTHW),
    }
    for phase, work in phases.items():
        work()
        peak, seconds = _measure_peak(work, extent.rounds)
        rows += _memory(f"video, offload {offload}, {phase}", planned.phases[offload][phase], peak, quick)
        rows.append(figure(f"video, offload {offload}, {phase}: time", seconds, "s", "lower"))
    return rows


def random_world(base: KnownBase, offload: Offload) -> World:
    """Return a base in bfloat16 with random weights, on the GPU or offloaded."""
    with CUDA:
        torch.manual_seed(0)
        denoiser = meta_denoiser(base, torch.bfloat16)
    return World(meta_world(base, denoiser).card, Path(), denoiser, CUDA, offload)


def _latents(extent: Extent) -> tuple[int, int, int, int, int]:
    frames, height, width = extent.size
    return (1, 16, latent_frames(frames), height // SPATIAL, width // SPATIAL)


def _measure_peak(work: Work, rounds: int) -> tuple[int, float]:
    """Return the peak bytes of tensors, and the least seconds of a call."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    seconds = min(timed(work) for _ in range(rounds))
    return torch.cuda.max_memory_allocated(), seconds


def _memory(name: str, predicted: int, peak: int, quick: bool) -> list[Figure]:
    error = f"{name}: |predicted/measured − 1| of its memory"
    return [
        figure(f"{name}: memory ({predicted / GIB:.2f} GiB predicted)", peak / GIB, "GiB", "lower"),
        figure(error, abs(predicted / peak - 1), "", "lower", None if quick else MEMORY_TOLERANCE),
    ]
