"""Readers of files that people write: recipes, gates, policies, captions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fuzzing.oracle import matches, parse_yaml_file
from benchmarks.fuzzing.reader import Reader
from worldtune.core.statistics import MIN_EPISODES
from worldtune.data.captioning.captions import read_captions
from worldtune.evaluation.comparison import gates
from worldtune.registry import policy
from worldtune.training.recipe import Recipe, load_recipe

DATA: dict[str, Any] = {"path": "data", "frames": 21, "fps": 16, "height": 64, "width": 64}
MINIMAL: dict[str, Any] = {"name": "mine", "base": "pocket", "data": DATA, "adapter": {}, "train": {}}
RECIPE: dict[str, Any] = MINIMAL | {
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


def _dump(recipe: Recipe) -> Any:
    return recipe.model_dump(mode="json", by_alias=True)


def _recipe(name: str) -> Callable[[Path], Any]:
    return lambda folder: _dump(load_recipe(folder / name, []))


def _recipes_match(found: Any, stated: Any) -> bool:
    """Return whether recipes match; a null section equals a missing one only if null is its default."""
    return matches(found, stated, _dump(Recipe.model_validate(MINIMAL)))


def _captions_match(found: Any, stated: Any) -> bool:
    defaults = {"origin": "", "sha256": None}
    return (
        isinstance(stated, list)
        and len(found) == len(stated)
        and all(map(lambda a, b: matches(a, b, defaults), found, stated))
    )


def _gates_match(found: Any, stated: Any) -> bool:
    defaults = {
        "over": None,
        "at_least": None,
        "at_most": None,
        "interval": None,
        "by": "all",
        "episodes": MIN_EPISODES,
    }
    if not isinstance(stated, dict) or not set(stated) <= {"gates"}:
        return False
    listed = stated.get("gates", [])
    gates_found = found["gates"]
    return (
        isinstance(listed, list)
        and len(gates_found) == len(listed)
        and all(matches(a, b, defaults) for a, b in zip(gates_found, listed, strict=True))
    )


def _policies_match(found: Any, stated: Any) -> bool:
    defaults = {"approvals": 0, "evidence": False}
    if not isinstance(stated, dict) or set(stated) != {"channels"} or not isinstance(stated["channels"], dict):
        return False
    gates_found, listed = found["channels"], stated["channels"]
    return gates_found.keys() == listed.keys() and all(
        matches(gates_found[name], listed[name], defaults) for name in gates_found
    )


READERS = (
    Reader(
        "recipe",
        "strict YAML",
        _yaml("recipe.yaml", RECIPE),
        _recipe("recipe.yaml"),
        lambda folder: parse_yaml_file(folder / "recipe.yaml"),
        agree=_recipes_match,
    ),
    Reader(
        "gates",
        "strict YAML",
        _yaml("gates.yaml", GATES),
        lambda folder: gates.read_gate_policy(folder / "gates.yaml").model_dump(mode="json"),
        lambda folder: parse_yaml_file(folder / "gates.yaml"),
        agree=_gates_match,
    ),
    Reader(
        "policy",
        "strict YAML",
        _yaml("policy.yaml", POLICY),
        lambda folder: policy.read_policy(folder / "policy.yaml").model_dump(mode="json"),
        lambda folder: parse_yaml_file(folder / "policy.yaml"),
        agree=_policies_match,
    ),
    Reader(
        "reviewed captions",
        "strict YAML",
        _yaml("captions.yaml", CAPTIONS),
        lambda folder: [entry.model_dump(mode="json") for entry in read_captions(folder / "captions.yaml")],
        lambda folder: parse_yaml_file(folder / "captions.yaml"),
        agree=_captions_match,
    ),
)
