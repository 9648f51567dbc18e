"""How well an adapter obeys actions, on pocket seen from above: `python -m benchmarks.dreams.obedience OUT`.

It trains the shipped recipe `pocket-new-view-actions`, and for comparison a text-only adapter of equal steps on the
expert clips alone; both resume from their checkpoints. Measured are wrong actions on held-out experts, three motions of
one start on held-out play, and PSNR on the experts beside the text-only adapter.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import worldtune as wt
from worldtune.adapters.folder import adapter_loaded
from worldtune.core.files import write_json
from worldtune.core.progress import Progress, silent
from worldtune.core.statistics import MeanEstimate, PairedComparison, compare_paired
from worldtune.data.clip import content_digest, read_clip
from worldtune.data.dataset import open_dataset
from worldtune.evaluation.cases.clip_cases import generate_image2world
from worldtune.evaluation.metrics.fidelity import psnr
from worldtune.evaluation.metrics.paths import measure_reader
from worldtune.evaluation.metrics.trajectory import GripperReader, make_reader, train_reader
from worldtune.evaluation.obedience.measure import Obedience, measure_obedience
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.latents.dataset import LatentClip
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore, default_store, load_tensor
from worldtune.models.world import World
from worldtune.training.recipe import Recipe
from worldtune.training.session import TrainingRun

RECIPE, TEXT_RECIPE = "pocket-new-view-actions", "pocket-new-view"
HELD_OUT_PLAY = "builtin:pocket-play-held-out"
READER_STEPS = 1000  # 120 clips need more than the few of an evaluation
SAMPLING_STEPS = 12
POSITION = (0, 1, 2)  # state columns of the hand


def measure(out: Path, *, steps: int | None = None, progress: Progress = silent) -> list[Figure]:
    """Train both adapters in `out`, or continue, and return the figures; `out/obedience.json` has all intervals.

    `steps` replaces the recipe's training steps, for a short trial.
    """
    recipe, text_recipe = recipes(steps)
    acting = wt.train(recipe, out / "actions", resume="auto", progress=progress)
    text = wt.train(text_recipe, out / "text", resume="auto", progress=progress)
    world = wt.open_base(recipe.base)
    experts, play, reader, r2 = prepare(world, recipe)
    plan = SamplingPlan(SAMPLING_STEPS)
    with loaded(world, acting):
        obeyed = measure_obedience(world, experts, play, reader, plan, progress)
    with loaded(world, text):
        videos = generate_image2world(world, experts, plan, progress)
    text_psnr = {clip.clip.name: psnr(videos[clip.clip.name], read_clip(clip.clip)) for clip in experts}
    gain = compare_paired(
        [obeyed.psnr[clip.clip.name] for clip in experts],
        [text_psnr[clip.clip.name] for clip in experts],
        [clip.clip.episode for clip in experts],
    )
    write_json(
        out / "obedience.json",
        {
            "obedience": asdict(obeyed),
            "text_psnr": text_psnr,
            "psnr_over_text": asdict(gain),
            "reader_r2": r2,
            "steps": recipe.train.steps,
            "action_guidance": plan.action_guidance,
            "sampling_steps": SAMPLING_STEPS,
        },
    )
    return list(figures(obeyed, gain, r2))


def recipes(steps: int | None) -> tuple[Recipe, Recipe]:
    """Return the recipe with actions, and the text-only recipe of equal steps, rank and rate."""
    changed = [] if steps is None else [f"train.steps={steps}"]
    recipe = wt.load_recipe(RECIPE, changed)
    equal = [
        f"train.steps={recipe.train.steps}",
        f"train.lr={recipe.train.lr}",
        f"adapter.rank={recipe.adapter.rank}",
        "train.preview_every=null",
        "validate.every=200",
        "validate.export=last",
        "validate.retention=null",
    ]
    return recipe, wt.load_recipe(TEXT_RECIPE, equal)


def prepare(world: World, recipe: Recipe) -> tuple[list[LatentClip], list[LatentClip], GripperReader, dict[str, float]]:
    """Return held-out experts and play, a reader of the hand's path from above, and its R² on both."""
    store, data = default_store(), open_dataset(recipe.data)
    play_spec = recipe.mix["play"].data
    held_out_play = open_dataset(play_spec.model_copy(update={"path": HELD_OUT_PLAY}))
    experts, play, trained = (
        encode_clips(world, clips, store)
        for clips in (data.held_out, held_out_play.train, [*data.train, *open_dataset(play_spec).train])
    )
    reader = _reader(world, trained, store)
    accuracy = {
        name: measure_reader(reader, (read_clip(clip.clip) for clip in clips), [path_of(clip) for clip in clips]).r2
        for name, clips in (("experts", experts), ("play", play))
    }
    return experts, play, reader, accuracy


def _reader(world: World, trained: Sequence[LatentClip], store: LatentStore) -> GripperReader:
    """Return the reader trained on these clips; it is cached in `store`, because it takes minutes."""
    paths = [path_of(clip) for clip in trained]
    inputs = [[content_digest(clip.clip), clip.latent.sha256] for clip in trained]
    key = {"obedience reader": inputs, "steps": READER_STEPS, "torch": torch.__version__}
    if entry := store.find(key):
        reader = make_reader(paths)
        reader.load_vector(load_tensor(entry))
        return reader
    reader = train_reader(_frames(world, trained), paths * 2, steps=READER_STEPS)
    store.save(reader.as_vector(), key)
    return reader


def _frames(world: World, clips: Sequence[LatentClip]) -> Iterator[Any]:
    for clip in clips:
        yield read_clip(clip.clip)
    for clip in clips:  # generated videos are decoded by the same codec
        yield world.decode(load_tensor(clip.latent)[None].to(world.device))[0].cpu().numpy()


def path_of(clip: LatentClip) -> Any:
    """Return the hand's path (T, 3) in a clip, in meters."""
    assert clip.clip.states is not None
    return clip.clip.states[:, list(POSITION)]


def loaded(world: World, run: TrainingRun) -> AbstractContextManager[None]:
    """Put a run's adapter on `world` inside the block."""
    return adapter_loaded(run.adapter, world.denoiser, world.card.digest)


def figures(obeyed: Obedience, gain: PairedComparison, r2: dict[str, float]) -> Iterator[Figure]:
    """Yield the figures with their aims."""
    motions, wrong = obeyed.motions, obeyed.wrong
    yield figure("three motions of one start: slope of their differences", motions.slope.mean, "×", "higher", 0.8)
    yield figure("three motions of one start: correlation", motions.correlation.mean, "", "higher", 0.85)
    yield figure("wrong actions: correlation with the given path, lower end", wrong.correlation.low, "", "higher", 0.35)
    yield figure("wrong actions: correlation by chance", _mean(obeyed.chance.correlation), "", "lower", None)
    yield figure("held-out experts: path correlation", _mean(obeyed.own.correlation), "", "higher", None)
    yield figure("held-out experts: end-point slope", _mean(obeyed.own.slope), "×", "higher", None)
    interval = f"95 % interval {gain.low} to {gain.high}"
    yield figure("PSNR over a text-only adapter of equal steps", gain.mean, "dB", "higher", 0.0, interval)
    yield figure("path reader: R² on held-out play", r2["play"], "", "higher", None)


def _mean(estimate: MeanEstimate) -> float | None:
    return estimate.mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    for row in measure(args.out, steps=args.steps):
        print(row, flush=True)


if __name__ == "__main__":
    main()
