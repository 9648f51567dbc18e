"""The lineage and the card of an adapter. They hold no times, so that the same run writes the same bytes."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from worldtune.adapters.card import AdapterCard, PreflightProof
from worldtune.core.code_commit import PACKAGE, code_commit, git
from worldtune.core.files import digest_bytes, digest_file, digest_json
from worldtune.core.version import __version__
from worldtune.models.catalog import BY_NAME
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.distributed import SINGLE_PROCESS, Distributed
from worldtune.training.recipe import Recipe, recipe_digest
from worldtune.training.tracking.package_versions import installed_packages


def adapter_card(
    world: World, recipe: Recipe, lineage: dict[str, Any], proof: PreflightProof, step: int, average: str | None
) -> AdapterCard:
    """Return the card of a finished run. Its weights' digest is empty until the weights are written."""
    return AdapterCard(
        name=recipe.name,
        adapter=recipe.adapter.as_saved,
        base=world.card.name,
        base_digest=world.card.digest,
        schedule=str(world.card.schedule),
        conditional_sigma=world.card.schedule.conditional_sigma,
        modes=recipe.train.modes,
        frames=recipe.data.frames,
        fps=recipe.data.fps,
        height=recipe.data.height,
        width=recipe.data.width,
        fit=recipe.data.fit,
        tile=[list(row) for row in recipe.data.tile] if recipe.data.tile else None,
        augment=recipe.data.augment.model_dump() if recipe.data.augment.copies else None,
        step=step,
        average=average,
        weights_digest="",
        lineage=lineage,
        preflight=proof,
    )


def lineage(
    world: World, recipe: Recipe, data: TrainingData, distributed: Distributed = SINGLE_PROCESS
) -> dict[str, Any]:
    """Return the digests and versions of everything that a run is made from."""
    return {
        "recipe": recipe_digest(recipe),
        "datasets": data.digests,
        "not_copies": {name: spec.not_copies for name, spec in recipe.datasets.items() if spec.not_copies},
        "clips": {"train": len(data.train), "held_out": len(data.held_out)}
        | {name: len(clips) for name, clips in data.mixed.items()},
        "adapter": recipe.adapter.model_dump(mode="json"),
        "base": {
            "source": world.card.source,
            "trained_as": world.card.trained_as,
            "revision": world.card.revision,
            "digest": world.card.digest,
            "license": BY_NAME[world.card.trained_as].license if world.card.trained_as in BY_NAME else None,
            "quantized": recipe.train.quantization,
        },
        "seed": recipe.train.seed,
        "worldtune": __version__,
        "code": code_commit(),
        "diff": code_diff(),
        "environment": digest_bytes(installed_packages().encode()),
        "versions": {name: version(name) for name in ("torch", "diffusers", "peft", "transformers", "av")},
        "machine": {
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "device": world.device.type,
            "gpu": torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None,
            "processes": distributed.size,
        },
    }


def code_diff(here: Path = PACKAGE) -> str | None:
    """Return the SHA-256 of the uncommitted changes below `here`, new files included; None if there are none."""
    if not code_commit(here).endswith("+"):
        return None
    new = git(here, "ls-files", "--others", "--exclude-standard", "--", ".").splitlines()
    files = {name: digest_file(here / name) for name in new}
    return digest_json({"diff": git(here, "diff", "HEAD", "--binary", "--", "."), "new": files})
