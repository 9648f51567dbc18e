"""Generation against diffusers' pipeline: the same weights, inputs, noise and video, in less time.

Shapes: B clips, C channels, T frames, H×W pixels; N text tokens, D text width, L tokens of a clip.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import Cosmos2_5_PredictBasePipeline, CosmosTransformer3DModel
from torch import Tensor

from benchmarks.pocket import held_out_spec
from benchmarks.ratio import ROUNDS, Ratio, time_in_turn
from benchmarks.speed import Batch, diffusers_forward, diffusers_twin, our_forward
from benchmarks.stock import stock_pipeline, torchvision_names
from worldtune.adapters.card import AdapterCard
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.progress import Progress
from worldtune.data.clip import read_clip
from worldtune.data.dataset import open_dataset
from worldtune.diffusion.conditioning import MODES, conditioning_mask
from worldtune.evaluation.report.figures import figure
from worldtune.generation.sampler import Guidance, sample
from worldtune.models.catalog import PREDICT25_2B
from worldtune.models.load import open_world
from worldtune.models.transformer.denoiser import cache_text_kv
from worldtune.models.vae.shapes import SPATIAL, latent_frames
from worldtune.models.world import World

NEGATIVE = "static, blurry"
GUIDANCE = 3
EVALUATIONS = 36
PARITY = 1e-4  # of pixel values from 0 to 1
Frames = np.ndarray


@dataclass(frozen=True)
class Scene:
    """The inputs of both sides: a held-out clip, its prompt, and noise."""

    frames_THWC: Frames
    prompt: str
    noise_BCTHW: Tensor


def measure(*, quick: bool, on_part: Progress) -> list[dict[str, Any]]:
    """Measure parity in three modes and with adapters, and speed; `quick` takes two rounds of two evaluations."""
    world, rounds, evaluations = open_world("pocket"), 2 if quick else ROUNDS, 2 if quick else EVALUATIONS
    scene, pipe = read_scene(world), stock_pipeline(world.folder)
    rows: list[dict[str, Any]] = []
    parts = _parts(world, pipe, scene, rounds, evaluations, quick)
    for number, row in enumerate(parts, 1):
        rows.append(row)
        on_part(number, len(MODES) + 5)
    return rows


def _parts(
    world: World, pipe: Cosmos2_5_PredictBasePipeline, scene: Scene, rounds: int, evaluations: int, quick: bool
) -> Iterator[dict[str, Any]]:
    for k, mode in MODES.items():
        difference = parity(world, pipe, scene, k, evaluations)
        yield figure(f"{mode}: largest difference from diffusers", difference, "of 1", "lower", PARITY)
    for method in ("lora", "dora"):
        difference = adapter_parity(world, scene, AdapterSpec(method=method, rank=4, alpha=10), evaluations)
        yield figure(f"{method}, alpha not rank: largest difference", difference, "of 1", "lower", PARITY)

    def goal(value: float) -> float | None:
        return None if quick else value

    def stock() -> object:
        return generate_stock(pipe, scene, 1, evaluations)

    def plain() -> object:
        return generate_ours(world, scene, 1, evaluations)

    yield _speed(f"image2world, {evaluations} evaluations, guidance", time_in_turn(stock, plain, rounds), goal(1.8))
    yield _speed("one forward of two blocks of the 2B, 2,160 tokens", two_block_ratio(rounds, quick), goal(1.2))
    if quick:
        yield figure(
            "image2world with torch.compile", None, "×", "higher", None, "compiling takes a minute: not in --quick"
        )
        return
    world.compile()
    yield _speed("image2world with torch.compile", time_in_turn(stock, plain, rounds), goal(2.5))


def _speed(name: str, ratio: Ratio, goal: float | None) -> dict[str, Any]:
    return figure(f"{name} ({ratio.plain * 1e3:.0f} → {ratio.fast * 1e3:.0f} ms)", ratio.speedup, "×", "higher", goal)


def read_scene(world: World) -> Scene:
    """Return the first held-out clip of the base's domain, and noise of its size."""
    card = world.card
    clip = open_dataset(held_out_spec(world)).train[0]
    shape = (1, 16, latent_frames(card.frames), card.height // SPATIAL, card.width // SPATIAL)
    return Scene(read_clip(clip), clip.caption, torch.randn(shape, generator=torch.Generator().manual_seed(5)))


def generate_stock(pipe: Cosmos2_5_PredictBasePipeline, scene: Scene, k: int, evaluations: int) -> Tensor:
    """Return diffusers' video (T, 3, H, W) from 0 to 1, from k latent frames of the clip."""
    frames, height, width, _ = scene.frames_THWC.shape
    stock_inputs: dict[str, Any] = {}
    if k == 1:
        stock_inputs["image"] = scene.frames_THWC[0]
    elif k == 2:
        stock_inputs["video"] = torch.from_numpy(scene.frames_THWC).permute(3, 0, 1, 2)[None] / 127.5 - 1
    with torchvision_names():
        return pipe(
            prompt=scene.prompt, negative_prompt=NEGATIVE, height=height, width=width, num_frames=frames,
            num_inference_steps=evaluations, guidance_scale=float(GUIDANCE), latents=scene.noise_BCTHW,
            output_type="pt", max_sequence_length=64, **stock_inputs,
        ).frames[0]  # fmt: skip


def generate_ours(world: World, scene: Scene, k: int, evaluations: int) -> Tensor:
    """Return our video (T, 3, H, W) from 0 to 1, from the same inputs."""
    text_BND = world.encode_prompts([scene.prompt, NEGATIVE])
    z_BCTHW = torch.zeros_like(scene.noise_BCTHW)
    if k:
        known_THWC = scene.frames_THWC[:1] if k == 1 else scene.frames_THWC[-5:]
        z_BCTHW[:, :, :k] = world.encode(torch.from_numpy(np.ascontiguousarray(known_THWC))[None])
    cond_mask_BT = conditioning_mask(torch.tensor([k]), z_BCTHW.shape[2])
    z_BCTHW = sample(
        world,
        Guidance(text_BND[:1], text_BND[1:], GUIDANCE),
        scene.noise_BCTHW,
        z_BCTHW,
        cond_mask_BT,
        steps=evaluations,
    )
    return (world.codec.decode_float(z_BCTHW)[0].transpose(0, 1) + 1) / 2


def parity(world: World, pipe: Cosmos2_5_PredictBasePipeline, scene: Scene, k: int, evaluations: int) -> float:
    return (
        (generate_ours(world, scene, k, evaluations) - generate_stock(pipe, scene, k, evaluations)).abs().max().item()
    )


def adapter_parity(world: World, scene: Scene, spec: AdapterSpec, evaluations: int) -> float:
    """Return the largest difference between our video and that of a stock pipeline that loads our adapter."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in inject(world.denoiser, spec, seed=5).items():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter * (1 + 0.1 * noise) if "magnitude" in name else parameter + 0.05 * noise)
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(Path(folder) / "adapter", world.denoiser, _card(world, spec))
        pipe = stock_pipeline(world.folder)
        pipe.load_lora_weights(Path(folder) / "adapter")
    difference = parity(world, pipe, scene, 1, evaluations)
    remove_adapter(world.denoiser)
    return difference


def _card(world: World, spec: AdapterSpec) -> AdapterCard:
    base = world.card
    return AdapterCard(
        name="bench", adapter=spec, base=base.name, base_digest=base.digest, schedule=str(base.schedule),
        conditional_sigma=base.schedule.conditional_sigma, modes={}, frames=base.frames, fps=base.fps,
        height=base.height, width=base.width, fit="cover", step=None, average=None, weights_digest="",
        lineage={}, preflight=None,
    )  # fmt: skip


def two_block_ratio(rounds: int, quick: bool) -> Ratio:
    """Time two blocks of the 2B's width with random weights: 6 latent frames of 18×20 tokens, 512 text tokens.

    Both sides compute as in sampling, but without the text's projection, which ours computes once in advance.
    """
    config = PREDICT25_2B.config() | {"num_layers": 2, "use_crossattn_projection": False}
    torch.manual_seed(0)
    model = CosmosTransformer3DModel(**config).eval().requires_grad_(False)
    side = (8, 8) if quick else (36, 40)
    x_BCTHW = torch.randn(1, 16, 6, *side)
    cond_mask_BT = conditioning_mask(torch.ones(1, dtype=torch.long), 6)
    batch = Batch(x_BCTHW, torch.rand(1, 6), cond_mask_BT, torch.randn(1, 512, 1024))
    twin = diffusers_twin(model)
    with torch.no_grad():
        text = cache_text_kv(model, batch.text_BND)
        return time_in_turn(lambda: diffusers_forward(twin, batch), lambda: our_forward(model, batch, text), rounds)
