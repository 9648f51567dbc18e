"""Where an adapter comes from. The card holds no times: the same run gives the same bytes."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import worldtune
from worldtune.adapters.card import AdapterCard, BirthProof
from worldtune.files import digest_bytes, digest_file, digest_json
from worldtune.training.data import TrainingData
from worldtune.training.environment import installed
from worldtune.training.recipe import Recipe, recipe_digest
from worldtune.training.team import ALONE, Team
from worldtune.worlds.catalog import BY_NAME
from worldtune.worlds.world import World


def adapter_card(
    world: World, recipe: Recipe, lineage: dict[str, Any], proof: BirthProof, step: int, average: str | None
) -> AdapterCard:
    """The card of a finished run; its weights' digest is filled in when they are written."""
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
        birth=proof,
    )


def lineage(world: World, recipe: Recipe, data: TrainingData, team: Team = ALONE) -> dict[str, Any]:
    """Digests and versions of everything that went into a run."""
    return {
        "recipe": recipe_digest(recipe),
        "datasets": data.digests,
        "clips": {"train": len(data.train), "held_out": len(data.held_out)}
        | {name: len(clips) for name, clips in data.mixed.items()},
        "adapter": recipe.adapter.model_dump(mode="json"),
        "base": {
            "source": world.card.source,
            "trained_as": world.card.trained_as,
            "revision": world.card.revision,
            "digest": world.card.digest,
            "licence": BY_NAME[world.card.trained_as].licence if world.card.trained_as in BY_NAME else None,
            "quantised": recipe.train.quantise,
        },
        "seed": recipe.train.seed,
        "worldtune": worldtune.__version__,
        "code": code_commit(),
        "diff": code_diff(),
        "environment": digest_bytes(installed().encode()),
        "versions": {name: version(name) for name in ("torch", "diffusers", "peft", "transformers", "av")},
        "machine": {
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "device": world.device.type,
            "gpu": torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None,
            "processes": team.size,
        },
    }


def code_commit(here: Path = Path(worldtune.__file__).parent) -> str:
    """The commit of the checkout that holds the package at `here`, with "+" when it was changed.

    "installed" where no checkout holds it, "unknown: …" where git does not say.
    """
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        return "installed"
    try:
        tracked = _git(here, "ls-files", "__init__.py")  # a virtual environment in somebody's repository is not
        if not tracked:
            return "installed"
        return _git(here, "rev-parse", "HEAD") + ("+" if _git(here, "status", "--porcelain", "--", ".") else "")
    except FileNotFoundError:
        return "unknown: git is not installed"
    except subprocess.CalledProcessError as error:
        return f"unknown: {error.stderr.strip().splitlines()[0]}"


def code_diff(here: Path = Path(worldtune.__file__).parent) -> str | None:
    """SHA-256 of what the checkout that holds `here` has changed since its commit, new files too; None of nothing."""
    if not code_commit(here).endswith("+"):
        return None
    new = _git(here, "ls-files", "--others", "--exclude-standard", "--", ".").splitlines()
    files = {name: digest_file(here / name) for name in new}
    return digest_json({"diff": _git(here, "diff", "HEAD", "--binary", "--", "."), "new": files})


def _git(here: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
