"""The recipe: everything a training run depends on, typed, from YAML and `section.key=value` overrides."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from worldtune.adapters.spec import AdapterSpec
from worldtune.diffusion.conditioning import MODES
from worldtune.episodes.dataset import DataSpec
from worldtune.errors import RecipeError, first_line
from worldtune.strict import Strict, parse

RESOLVED = "# resolved by worldtune train: edit the recipe that it was given\n"


class Replay(Strict):
    """Training clips of a second dataset, usually of the base's own domain, so that it is not forgotten."""

    data: DataSpec
    share: float = Field(0.25, gt=0, lt=1, description="share of every batch")


class Train(Strict):
    steps: int = Field(300, ge=1)
    batch: int = Field(8, ge=1)
    lr: float = Field(2e-3, gt=0)
    warmup: int = Field(20, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(1e-3, ge=0)
    clip_grad: float = Field(1.0, gt=0)
    modes: dict[str, float] = Field(
        default_factory=lambda: {"text2world": 0.1, "image2world": 0.65, "video2world": 0.25}
    )
    checkpointing: bool = Field(False, description="less memory; on the 2B a quarter more operations")
    text_dropout: float = Field(0.1, ge=0, lt=1)
    shift: float = Field(5.0, gt=0, description="of the noise levels; a Predict 2 base has a law of its own")
    seed: int = Field(0, ge=0, lt=2**32)
    checkpoint_every: int = Field(100, ge=1)
    preview_every: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _modes_are_probabilities(self) -> "Train":
        unknown = set(self.modes) - set(MODES.values())
        values = self.modes.values()
        if unknown or not abs(sum(values) - 1) <= 1e-3 or not all(value >= 0 for value in values):  # NaN too
            raise ValueError(f"modes are probabilities of {', '.join(MODES.values())} that sum to 1")
        return self


class Validate(Strict):
    """Held-out loss on fixed draws: `sigmas` noise levels a clip, at the quantiles that training draws from.

    `clips` are looked at of each dataset, spread evenly over it; all when not given. `forgetting` is a dataset of the
    base's own domain, all of it held out.
    """

    every: int = Field(50, ge=1)
    sigmas: int = Field(4, ge=1)
    clips: int | None = Field(None, ge=1)
    mode: Literal["text2world", "image2world", "video2world"] = "image2world"
    forgetting: DataSpec | None = None


class Recipe(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    base: str
    data: DataSpec
    replay: Replay | None = None
    adapter: AdapterSpec
    train: Train
    check: Validate = Field(default_factory=Validate, alias="validate")

    @property
    def datasets(self) -> dict[str, DataSpec]:
        """Every dataset that the run reads, by the name it has in errors and lineage."""
        named = {"data": self.data, "replay": self.replay and self.replay.data, "forgetting": self.check.forgetting}
        return {name: spec for name, spec in named.items() if spec}

    @property
    def replayed(self) -> int:
        """How many clips of a batch are replayed."""
        return round(self.train.batch * self.replay.share) if self.replay else 0

    @model_validator(mode="after")
    def _replay_fits(self) -> "Recipe":
        if self.replay is None:
            return self
        if not 0 < self.replayed < self.train.batch:
            raise ValueError(
                f"replay.share of a batch of {self.train.batch} is {self.replayed} clips: take 1 or more of each"
            )
        if self.replay.data.held_out:
            raise ValueError("replay.data.held_out has no use: all of its clips are trained on, so leave it 0")
        sizes = [(data.frames, data.height, data.width) for data in (self.data, self.replay.data)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"clips of one batch have one size, but data has {sizes[0]} and replay {sizes[1]}")
        return self


def load_recipe(path: Path, overrides: list[str]) -> Recipe:
    """The recipe of a YAML file with `train.steps=500`-like overrides.

    Raises RecipeError for a file that is absent or not YAML, and for unknown or wrong keys.
    """
    if not path.is_file():
        raise RecipeError("there is no such recipe", where=str(path), mend="`worldtune recipes` lists the ready ones.")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"not YAML: {first_line(error)}", where=str(path), mend="Correct it.") from error
    if not isinstance(data, dict):
        raise RecipeError("a recipe is a mapping of sections", where=str(path), mend="See `worldtune recipes`.")
    for override in overrides:
        _override(data, override)
    return parse(Recipe, data, str(path))


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not key or not equals:
        raise RecipeError(f"'{override}' is no override", where="command line", mend="Write section.key=value.")
    *sections, last = key.split(".")
    for section in sections:
        data[section] = data.get(section) or {}
        data = data[section]
        if not isinstance(data, dict):
            raise RecipeError(
                f"'{section}' is no section", where=f"command line: {override}", mend="Write section.key."
            )
    try:
        data[last] = yaml.safe_load(value)
    except (ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"'{value}' is not YAML", where=f"command line: {override}", mend="Quote it.") from error


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, with a first line that says where it comes from."""
    return RESOLVED + yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True), sort_keys=False)
