"""The recipe: everything a training run depends on, typed, from YAML and `section.key=value` overrides."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from worldtune.adapters.spec import AdapterSpec
from worldtune.core.strict_io import parse_yaml, read_yaml
from worldtune.diffusion.conditioning import MODES
from worldtune.episodes.spec import DataSpec
from worldtune.errors import RecipeError
from worldtune.files import digest_json
from worldtune.strict import Strict, parse
from worldtune.training.averages import Ema
from worldtune.training.trackers import Tracking
from worldtune.worlds.recompute import Mode

RESOLVED = "# resolved by worldtune train: edit the recipe that it was given\n"


class Mixed(Strict):
    """Training clips of another dataset, as a share of all that are trained on."""

    data: DataSpec
    share: float = Field(0.25, gt=0, lt=1)


class Train(Strict):
    steps: int = Field(300, ge=1)
    batch: int = Field(8, ge=1, description="clips of a step, over all processes")
    optimizer: Literal["adamw", "adamw8bit", "prodigy", "muon"] = "adamw"
    lr: float = Field(2e-3, gt=0, description="the highest; near 1 for prodigy, which finds the rest")
    lora_plus: float = Field(1.0, gt=0, description="B's rate over A's")
    warmup: int = Field(20, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(1e-3, ge=0)
    clip_grad: float = Field(1.0, gt=0)
    modes: dict[str, float] = Field(
        default_factory=lambda: {"text2world": 0.1, "image2world": 0.65, "video2world": 0.25}
    )
    text_dropout: float = Field(0.1, ge=0, lt=1)
    shift: float = Field(5.0, gt=0, description="of the noise levels; a Predict 2 base has a law of its own")
    quantise: Literal["int8", "fp8", "nf4"] | None = Field(None, description="of the frozen base; it costs exactness")
    precise: bool = Field(False, description="time embedding, modulation and final layer in fp32 over a bf16 base")
    high_sigma: float = Field(0.0, ge=0, lt=1, description="share of clips near pure noise; not for Predict 2")
    ema: Ema = Field(default_factory=Ema)
    seed: int = Field(0, ge=0, lt=2**32)
    checkpoint_every: int = Field(100, ge=1)
    keep: int = Field(2, ge=1, description="newest checkpoints; the best one is kept beside them")
    preview_every: int | None = Field(None, ge=1)

    @property
    def a_mode(self) -> str:
        """One that is trained, image2world if it is."""
        return max(self.modes, key=lambda mode: (self.modes[mode] > 0, mode == "image2world"))

    @model_validator(mode="after")
    def _modes_are_probabilities(self) -> "Train":
        unknown = set(self.modes) - set(MODES.values())
        values = self.modes.values()
        if unknown or not abs(sum(values) - 1) <= 1e-3 or not all(value >= 0 for value in values):  # NaN too
            raise ValueError(f"modes are probabilities of {', '.join(MODES.values())} that sum to 1")
        return self

    @model_validator(mode="after")
    def _prodigy_has_one_rate(self) -> "Train":
        if self.optimizer == "prodigy" and self.lora_plus != 1:
            raise ValueError("prodigy finds one rate for all: leave lora_plus out")
        return self


class Validate(Strict):
    """Held-out loss on fixed draws: `sigmas` noise levels a clip and mode, at the quantiles that training draws from.

    `clips` are looked at of each dataset, spread evenly over it; all when not given. `forgetting` is a dataset of the
    base's own domain, all of it held out. What is exported is the `best` of the validations or the `last` weights;
    after `patience` validations without a better one training ends.
    """

    every: int = Field(50, ge=1)
    sigmas: int = Field(4, ge=1)
    clips: int | None = Field(None, ge=1)
    modes: list[Literal["text2world", "image2world", "video2world"]] = Field(["image2world"], min_length=1)
    forgetting: DataSpec | None = None
    export: Literal["best", "last"] = "best"
    patience: int | None = Field(None, ge=1)


class Machine(Strict):
    """How the run fits its machine: nothing here changes what is learned, but for rounding.

    A run may be resumed with other values. micro_batch: clips that a process computes at once, all of its share when
    not given. checkpointing: what a block computes again in backward, everything (full) or all but self-attention
    (selective), in every `checkpoint_blocks`-th block. offload_checkpoints, stream_base: block inputs, or the frozen
    blocks, wait in the CPU's memory. context: processes that share one clip's tokens. shard_base: each process holds
    its part of the frozen blocks.
    """

    micro_batch: int | None = Field(None, ge=1)
    checkpointing: Mode = "none"
    checkpoint_blocks: int = Field(1, ge=1)
    offload_checkpoints: bool = False
    stream_base: bool = False
    compile: bool = False
    context: int = Field(1, ge=1)
    shard_base: bool = False

    @model_validator(mode="after")
    def _levers_go_together(self) -> "Machine":
        moving = [name for name in ("stream_base", "shard_base") if getattr(self, name)]
        if len(moving) > 1:
            raise ValueError("stream_base and shard_base are two ways of one thing: choose one")
        if moving and (self.checkpointing == "none" or self.checkpoint_blocks > 1):
            raise ValueError(f"{moving[0]} needs every block computed again: add checkpointing=full or selective")
        if self.offload_checkpoints and self.checkpointing == "none":
            raise ValueError("offload_checkpoints has nothing to move: add checkpointing=full or selective")
        if self.compile and self.checkpointing == "selective":
            raise ValueError("compile and checkpointing=selective do not go together: take checkpointing=full")
        return self


class Recipe(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    base: str
    data: DataSpec
    mix: dict[str, Mixed] = Field(default_factory=dict)
    replay: Mixed | None = None
    adapter: AdapterSpec
    train: Train
    check: Validate = Field(default_factory=Validate, alias="validate")
    machine: Machine = Field(default_factory=Machine)
    track: Tracking = Field(default_factory=Tracking)

    @property
    def datasets(self) -> dict[str, DataSpec]:
        """Every dataset that the run reads, by the name it has in errors and lineage."""
        named = {"data": self.data} | {name: mixed.data for name, mixed in self.mixed.items()}
        return named | ({"forgetting": self.check.forgetting} if self.check.forgetting else {})

    @property
    def mixed(self) -> dict[str, Mixed]:
        """What is trained on beside `data`, by its name there."""
        named = {f"mix.{name}": mixed for name, mixed in self.mix.items()}
        return named | ({"replay": self.replay} if self.replay else {})

    @model_validator(mode="after")
    def _base_can_be_split(self) -> "Recipe":
        if self.machine.shard_base and self.train.quantise:
            raise ValueError("shard_base splits weights, of which train.quantise leaves none: choose one")
        return self

    @model_validator(mode="after")
    def _mixture_fits(self) -> "Recipe":
        if self.replay and self.replay.data.held_out:
            raise ValueError("replay.data.held_out has no use: all of its clips are trained on, so leave it 0")
        if not sum(mixed.share for mixed in self.mixed.values()) < 1:
            raise ValueError("the shares of mix and replay leave nothing for data: their sum must be below 1")
        own = (self.data.frames, self.data.height, self.data.width)
        for name, mixed in self.mixed.items():
            size = (mixed.data.frames, mixed.data.height, mixed.data.width)
            if size != own:
                raise ValueError(f"clips of one batch have one size, but data has {own} and {name} {size}")
        return self


def load_recipe(path: Path, overrides: list[str]) -> Recipe:
    """The recipe of a YAML file with `train.steps=500`-like overrides.

    Raises RecipeError for a file that is absent or not YAML, and for unknown or wrong keys.
    """
    if not path.is_file():
        raise RecipeError("there is no such recipe", where=str(path), mend="`worldtune recipes` lists the ready ones.")
    data = read_yaml(path, error=RecipeError)
    if not isinstance(data, dict):
        raise RecipeError("a recipe is a mapping of sections", where=str(path), mend="See `worldtune recipes`.")
    for override in overrides:
        _override(data, override)
    return parse(Recipe, data, " with ".join([str(path), *overrides]))


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
    data[last] = parse_yaml(value, f"command line: {override}", error=RecipeError, mend="Quote the value.")


def recipe_digest(recipe: Recipe) -> str:
    """Digest of all that decides what is learned: what fits the run to a machine, or watches it, does not."""
    return digest_json(recipe.model_dump(mode="json", by_alias=True, exclude={"machine", "track"}))


def recipe_changes(before: Recipe, after: Recipe) -> list[str]:
    """What decides what is learned and is another now, as "train.lr 0.01 → 0.005"."""
    flat = [
        _flat(recipe.model_dump(mode="json", by_alias=True, exclude={"machine", "track"})) for recipe in (before, after)
    ]
    keys = [*flat[0], *(key for key in flat[1] if key not in flat[0])]
    absent = "(absent)"
    return [
        f"{key} {flat[0].get(key, absent)} → {flat[1].get(key, absent)}"
        for key in keys
        if flat[0].get(key, absent) != flat[1].get(key, absent)
    ]


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {
        name: leaf for part, inner in value.items() for name, leaf in _flat(inner, f"{key}.{part}".strip(".")).items()
    }


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, with a first line that says where it comes from."""
    return RESOLVED + yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True), sort_keys=False)
