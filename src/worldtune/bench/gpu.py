"""What the planner says of this GPU, against the GPU: memory and time of training steps and videos of the 2B.

The weights are drawn at random: they decide neither. Needs a GPU, and no download.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.bench.ratio import Work, timed
from worldtune.bench.training_steps import BASE_2B, step_of
from worldtune.errors import UserError
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.generation.sampler import BATCHED_LATENTS, guided
from worldtune.planning.blank import blank_denoiser, blank_vae, blank_world, text_length
from worldtune.planning.generation import GUIDANCE, plan_generation
from worldtune.planning.gpus import GIB
from worldtune.planning.training import plan_on
from worldtune.training.fit import BEFORE, fit_machine, prepared
from worldtune.training.recipe import Machine, Train
from worldtune.training.state import TrainingState
from worldtune.training.team import join_team
from worldtune.worlds.catalog import BY_NAME, KnownBase
from worldtune.worlds.codec import Codec
from worldtune.worlds.latent_size import SPATIAL, latent_frames
from worldtune.worlds.offload import Offload
from worldtune.worlds.quantised import Kind
from worldtune.worlds.whole_clip_vae import WholeClipVae
from worldtune.worlds.world import World

Advance = Callable[[int, int], None]
WITHIN = 0.1  # of the predicted memory
CUDA = torch.device("cuda")


@dataclass(frozen=True)
class Setting:
    """How a recipe fits a GPU: its `machine` and `train.quantise`."""

    machine: Mapping[str, object]
    quantise: Kind | None = None


@dataclass(frozen=True)
class Extent:
    """A base, the size of its clips, and how often a thing is timed."""

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
    "full, checkpoints offloaded": Setting({"checkpointing": "full", "offload_checkpoints": True}),
    "full, base streamed": Setting({"checkpointing": "full", "stream_base": True}),
    "full, int8": Setting({"checkpointing": "full"}, "int8"),
    "full, fp8": Setting({"checkpointing": "full"}, "fp8"),
    "full, nf4": Setting({"checkpointing": "full"}, "nf4"),
}
FULL = Extent(BASE_2B, (93, 432, 768), 3, SETTINGS)
QUICK = Extent(
    BY_NAME["pocket"], (9, 64, 64), 1, {name: one for name, one in SETTINGS.items() if not one.machine.get("compile")}
)


def measure(*, quick: bool, on_part: Advance = lambda done, total: None) -> list[Figure]:
    """Every figure; `quick` is the pocket world, where scratch memory outweighs all else and nothing is a goal.

    Raises UserError where there is no GPU.
    """
    if not torch.cuda.is_available():
        raise UserError("there is no GPU here", where="bench gpu", mend="Run it on a machine with one.")
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
    planned = plan_on(machine, extent.base, extent.spec, (1, *extent.size), quantised=setting.quantise)
    step = _step(machine, setting.quantise, extent)
    step()  # compiles, and makes the optimiser's moments
    peak, seconds = _measured(step, extent.rounds)
    del step
    return [
        *_memory(f"step, {name}", planned.peak, peak, quick),
        figure(f"step, {name}: time", seconds, "s", "lower"),
        figure(f"step, {name}: speed", planned.flops / seconds / 1e12, "TFLOP/s", "higher"),
    ]


def _step(machine: Machine, quantised: Kind | None, extent: Extent) -> Work:
    """One step of the trainer's, of one clip."""
    train = Train(lr=1e-5, quantise=quantised)
    world = drawn_world(extent.base, BEFORE if machine.stream_base else "none")
    parameters = inject(prepared(world, train), extent.spec, seed=0)
    fit_machine(world, machine, join_team(), 1)
    text_BND = torch.randn(1, text_length(extent.base), extent.base.architecture.text_dim)
    clips = torch.randn(_latents(extent)), text_BND
    return step_of(world, TrainingState(parameters, train), clips, torch.zeros_like(text_BND))


@torch.no_grad()
def _video(offload: Offload, extent: Extent, quick: bool) -> list[Figure]:
    """One guided velocity, and one decoding of what the sampler would end with; the text encoder is not there."""
    planned = plan_generation(extent.base, *extent.size)
    world = drawn_world(extent.base, offload)
    with CUDA:
        vae = blank_vae(extent.base, torch.bfloat16)
    world.codec = Codec(WholeClipVae(vae.to("cpu") if offload != "none" else vae), CUDA)
    shape = _latents(extent)
    text_1ND = torch.randn(1, text_length(extent.base), extent.base.architecture.text_dim, device=CUDA)
    x_BCTHW, known_BT = torch.randn(shape, device=CUDA), torch.zeros(1, shape[2], device=CUDA)
    batched = x_BCTHW.numel() <= BATCHED_LATENTS
    velocity = guided(world, text_1ND, text_1ND, known_BT, GUIDANCE, batched)
    rows: list[Figure] = []
    phases: dict[str, Work] = {
        "denoise": lambda: velocity(x_BCTHW, torch.full_like(known_BT, 0.5)),
        "decode": lambda: world.decode(x_BCTHW),
    }
    for phase, work in phases.items():
        work()
        peak, seconds = _measured(work, extent.rounds)
        rows += _memory(f"video, offload {offload}, {phase}", planned.phases[offload][phase], peak, quick)
        rows.append(figure(f"video, offload {offload}, {phase}: time", seconds, "s", "lower"))
    return rows


def drawn_world(base: KnownBase, offload: Offload) -> World:
    """A base in bfloat16 whose weights are drawn at random, on the GPU or as the offload has it."""
    with CUDA:
        torch.manual_seed(0)
        denoiser = blank_denoiser(base, torch.bfloat16)
    return World(blank_world(base, denoiser).card, Path(), denoiser, CUDA, offload)


def _latents(extent: Extent) -> tuple[int, int, int, int, int]:
    frames, height, width = extent.size
    return (1, 16, latent_frames(frames), height // SPATIAL, width // SPATIAL)


def _measured(work: Work, rounds: int) -> tuple[int, float]:
    """The most bytes that tensors had at a time, and the least seconds of a call."""
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
        figure(error, abs(predicted / peak - 1), "", "lower", None if quick else WITHIN),
    ]
