"""Readers of what people write: recipes, gates, policies, captions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from worldtune.bench.fuzzing.oracle import says, yaml_of
from worldtune.bench.fuzzing.reader import Reader
from worldtune.episodes.captions import read_captions
from worldtune.evaluation import gates
from worldtune.registry import policy
from worldtune.statistics import ENOUGH
from worldtune.training.recipe import Recipe, load_recipe

DATA: dict[str, Any] = {"path": "data", "frames": 21, "fps": 16, "height": 64, "width": 64}
LEAST: dict[str, Any] = {"name": "mine", "base": "pocket", "data": DATA, "adapter": {}, "train": {}}
RECIPE: dict[str, Any] = LEAST | {
    "data": DATA | {"held_out": 0.5, "viewpoints": {"front": "from the front"}, "tasks": ["lift", "push"]},
    "mix": {"other": {"share": 0.25, "data": DATA}},
    "adapter": {
        "method": "dora",
        "rank": 16,
        "alpha": 8.5,
        "targets": ["attn1.to_q", "ff.net.2"],
        "ranks": {"ff.net.2": 4},
    },
    "train": {"steps": 300, "lr": 5.0e-3, "modes": {"image2world": 0.75, "text2world": 0.25}, "ema": {"decay": [0.99]}},
    "validate": {"every": 100, "modes": ["image2world"]},
    "machine": {"checkpointing": "full", "micro_batch": 2},
}
GATES = {
    "gates": [{"metric": "psnr_db", "over": "base", "at_least": 1.0, "interval": 1.5, "episodes": 10, "by": "task"}]
}
POLICY = {"channels": {"production": {"approvals": 2, "evidence": True}, "*": {"approvals": 0, "evidence": False}}}
CAPTIONS = [
    {
        "episode": "000012",
        "camera": "front",
        "caption": "The arm lifts the cup.",
        "origin": "qwen",
        "sha256": "ab" * 32,
    },
    {"episode": "000013", "camera": "front", "caption": "It puts the cup down – there."},
]


def _yaml(name: str, value: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")

    return make


def _dumped(recipe: Recipe) -> Any:
    return recipe.model_dump(mode="json", by_alias=True)


def _recipe(name: str) -> Callable[[Path], Any]:
    return lambda folder: _dumped(load_recipe(folder / name, []))


def _says_recipe(found: Any, stated: Any) -> bool:
    """A section that is null is as good as one that is left out only where null is what it is without."""
    return says(found, stated, _dumped(Recipe.model_validate(LEAST)))


def _says_captions(found: Any, stated: Any) -> bool:
    usual = {"origin": "", "sha256": None}
    return (
        isinstance(stated, list)
        and len(found) == len(stated)
        and all(map(lambda a, b: says(a, b, usual), found, stated))
    )


def _says_gates(found: Any, stated: Any) -> bool:
    usual = {"over": None, "at_least": None, "at_most": None, "interval": None, "by": "all", "episodes": ENOUGH}
    if not isinstance(stated, dict) or not set(stated) <= {"gates"}:
        return False
    listed = stated.get("gates", [])
    its = found["gates"]
    return (
        isinstance(listed, list)
        and len(its) == len(listed)
        and all(says(a, b, usual) for a, b in zip(its, listed, strict=True))
    )


def _says_policy(found: Any, stated: Any) -> bool:
    usual = {"approvals": 0, "evidence": False}
    if not isinstance(stated, dict) or set(stated) != {"channels"} or not isinstance(stated["channels"], dict):
        return False
    its, listed = found["channels"], stated["channels"]
    return its.keys() == listed.keys() and all(says(its[name], listed[name], usual) for name in its)


READERS = (
    Reader(
        "recipe",
        "strict YAML",
        _yaml("recipe.yaml", RECIPE),
        _recipe("recipe.yaml"),
        lambda folder: yaml_of(folder / "recipe.yaml"),
        agree=_says_recipe,
    ),
    Reader(
        "gates",
        "strict YAML",
        _yaml("gates.yaml", GATES),
        lambda folder: gates.read_policy(folder / "gates.yaml").model_dump(mode="json"),
        lambda folder: yaml_of(folder / "gates.yaml"),
        agree=_says_gates,
    ),
    Reader(
        "policy",
        "strict YAML",
        _yaml("policy.yaml", POLICY),
        lambda folder: policy.read_policy(folder / "policy.yaml").model_dump(mode="json"),
        lambda folder: yaml_of(folder / "policy.yaml"),
        agree=_says_policy,
    ),
    Reader(
        "reviewed captions",
        "strict YAML",
        _yaml("captions.yaml", CAPTIONS),
        lambda folder: [entry.model_dump(mode="json") for entry in read_captions(folder / "captions.yaml")],
        lambda folder: yaml_of(folder / "captions.yaml"),
        agree=_says_captions,
    ),
)
