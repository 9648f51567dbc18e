"""The recipe: every setting of a training run, typed, from YAML and `section.key=value` overrides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from worldtune.adapters.spec import AdapterSpec
from worldtune.core.files import digest_json
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import parse_yaml, read_yaml
from worldtune.data.spec import DataSpec
from worldtune.diffusion.conditioning import MODES
from worldtune.errors import RecipeError
from worldtune.models.memory.activation_checkpoint import CheckpointMode
from worldtune.training.idm_settings import IdmSettings
from worldtune.training.optim.ema import Ema
from worldtune.training.shipped_recipes import recipe_path
from worldtune.training.tracking.trackers import Tracking

NOT_LEARNED = {"machine", "track", "idm"}  # sections that do not decide what an adapter learns
RESOLVED = "# resolved by worldtune train: edit the recipe that it was given\n"


class Mixed(StrictModel):
    """Training clips of another dataset; `share` is their part of all training clips."""

    data: DataSpec
    share: float = Field(0.25, gt=0, lt=1)


class Train(StrictModel):
    """How to train: steps, optimizer, rate, modes, noise levels, moving averages and checkpoints."""

    steps: int = Field(300, ge=1)
    batch: int = Field(8, ge=1, description="clips per step, over all processes")
    optimizer: Literal["adamw", "adamw8bit", "prodigy", "muon"] = "adamw"
    lr: float = Field(2e-3, gt=0, description="the peak learning rate; near 1 for prodigy, which adapts it")
    lora_plus: float = Field(1.0, gt=0, description="B's learning rate divided by A's")
    warmup: int = Field(20, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(1e-3, ge=0)
    clip_grad: float = Field(1.0, gt=0)
    modes: dict[str, float] = Field(
        default_factory=lambda: {"text2world": 0.1, "image2world": 0.65, "video2world": 0.25}
    )
    text_dropout: float = Field(0.1, ge=0, lt=1)
    action_lr: float = Field(2e-3, gt=0, description="the peak rate of the action embedder; prodigy uses lr")
    action_dropout: float = Field(0.1, ge=0, lt=1, description="share of clips without actions, for guidance on them")
    shift: float = Field(5.0, gt=0, description="of the noise levels; unused for a Predict 2 base")
    quantization: Literal["int8", "fp8", "nf4"] | None = Field(
        None, description="of the frozen base; changes the result"
    )
    modulation_fp32: bool = Field(
        False, description="time embedding, modulation and final layer in fp32 over a bf16 base"
    )
    high_sigma: float = Field(0.0, ge=0, lt=1, description="share of clips near pure noise; not for Predict 2")
    ema: Ema = Field(default_factory=Ema)
    seed: int = Field(0, ge=0, lt=2**32)
    checkpoint_every: int = Field(100, ge=1)
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints to keep; the best one is kept too")
    preview_every: int | None = Field(None, ge=1)

    @property
    def main_mode(self) -> str:
        """Return a mode that is trained: image2world if it is."""
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
            raise ValueError("prodigy uses one learning rate for all weights: omit lora_plus")
        return self


class Validate(StrictModel):
    """Held-out loss on fixed draws: `sigmas` noise levels per clip and mode, at equal quantiles of training's.

    `clips` is the number of clips of each dataset, spread evenly over it; by default all. `retention` is a dataset of
    the base's own domain, all of it held out. `export` chooses the `best` validated weights or the `last` ones.
    Training ends after `patience` validations without a better one.
    """

    every: int = Field(50, ge=1)
    sigmas: int = Field(4, ge=1)
    clips: int | None = Field(None, ge=1)
    modes: list[Literal["text2world", "image2world", "video2world"]] = Field(["image2world"], min_length=1)
    retention: DataSpec | None = None
    export: Literal["best", "last"] = "best"
    patience: int | None = Field(None, ge=1)


class Machine(StrictModel):
    """How the run uses its machine; these settings change the result only by rounding.

    A run may be resumed with other values. micro_batch: clips that a process computes at once, by default all of its
    share. checkpointing: what a block recomputes in backward, everything (full) or all except self-attention
    (selective), in every `checkpoint_blocks`-th block. offload_activations, offload_base: block inputs, or the frozen
    blocks, are in the CPU's memory until they are needed. context_parallel: processes that share one clip's tokens.
    shard_base: each process holds a part of the frozen blocks.
    """

    micro_batch: int | None = Field(None, ge=1)
    checkpointing: CheckpointMode = "none"
    checkpoint_blocks: int = Field(1, ge=1)
    offload_activations: bool = False
    offload_base: bool = False
    compile: bool = False
    context_parallel: int = Field(1, ge=1)
    shard_base: bool = False

    @model_validator(mode="after")
    def _settings_are_compatible(self) -> "Machine":
        moving = [name for name in ("offload_base", "shard_base") if getattr(self, name)]
        if len(moving) > 1:
            raise ValueError("offload_base and shard_base cannot be combined: choose one")
        if moving and (self.checkpointing == "none" or self.checkpoint_blocks > 1):
            raise ValueError(f"{moving[0]} must recompute every block: add checkpointing=full or selective")
        if self.offload_activations and self.checkpointing == "none":
            raise ValueError("offload_activations has nothing to offload: add checkpointing=full or selective")
        if self.compile and self.checkpointing == "selective":
            raise ValueError("compile and checkpointing=selective cannot be combined: use checkpointing=full")
        return self


class Recipe(StrictModel):
    """Every setting of a training run: base, data, adapter, and how to train, validate and track.

    `idm` is for `worldtune idm train`, which trains inverse dynamics on the same data.
    """

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
    idm: IdmSettings = Field(default_factory=IdmSettings)

    @property
    def datasets(self) -> dict[str, DataSpec]:
        """Return every dataset that the run reads, by its name in errors and lineage."""
        named = {"data": self.data} | {name: mixed.data for name, mixed in self.mixed.items()}
        return named | ({"retention": self.check.retention} if self.check.retention else {})

    @property
    def mixed(self) -> dict[str, Mixed]:
        """Return the training datasets other than `data`, by their names in `datasets`."""
        named = {f"mix.{name}": mixed for name, mixed in self.mix.items()}
        return named | ({"replay": self.replay} if self.replay else {})

    @model_validator(mode="after")
    def _base_can_be_split(self) -> "Recipe":
        if self.machine.shard_base and self.train.quantization:
            raise ValueError("shard_base cannot split quantized weights: choose it or train.quantization")
        return self

    @model_validator(mode="after")
    def _mixture_fits(self) -> "Recipe":
        if self.replay and self.replay.data.held_out:
            raise ValueError("all clips of replay are trained on: set replay.data.held_out to 0")
        if not sum(mixed.share for mixed in self.mixed.values()) < 1:
            raise ValueError("the shares of mix and replay must sum to less than 1, to leave a share for data")
        own = (self.data.frames, self.data.height, self.data.width)
        for name, mixed in self.mixed.items():
            size = (mixed.data.frames, mixed.data.height, mixed.data.width)
            if size != own:
                raise ValueError(f"all clips must have the same size, but data has {own} and {name} {size}")
        return self


def find_recipe(name: str | Path, overrides: Sequence[str]) -> Recipe:
    """Return a shipped recipe by its name, or the recipe of a YAML file. Raise RecipeError as `load_recipe` does."""
    return load_recipe(recipe_path(name), overrides)


def load_recipe(path: Path, overrides: Sequence[str]) -> Recipe:
    """Return the recipe of a YAML file with overrides such as `train.steps=500`.

    Raise RecipeError for a missing file, for one that is not YAML, and for unknown or wrong keys.
    """
    if not path.is_file():
        raise RecipeError("there is no such recipe", where=str(path), hint="See `worldtune recipes`.")
    data = read_yaml(path, error=RecipeError)
    if not isinstance(data, dict):
        raise RecipeError("a recipe must be a mapping of sections", where=str(path), hint="See `worldtune recipes`.")
    for override in overrides:
        apply_override(data, override)
    return parse_model(Recipe, data, " with ".join([str(path), *overrides]))


def apply_override(data: dict[str, Any], override: str) -> None:
    """Set a key of nested settings by `section.key=value`; the value is YAML. Raise RecipeError if it is malformed."""
    key, equals, value = override.partition("=")
    if not key or not equals:
        raise RecipeError(f"'{override}' is not an override", where="command line", hint="Write section.key=value.")
    *sections, last = key.split(".")
    for section in sections:
        data[section] = data.get(section) or {}
        data = data[section]
        if not isinstance(data, dict):
            raise RecipeError(
                f"'{section}' is not a section", where=f"command line: {override}", hint="Write section.key."
            )
    data[last] = parse_yaml(value, f"command line: {override}", error=RecipeError, hint="Quote the value.")


def recipe_digest(recipe: Recipe) -> str:
    """Return the digest of all settings that decide what an adapter learns."""
    return digest_json(recipe.model_dump(mode="json", by_alias=True, exclude=NOT_LEARNED))


def recipe_changes(before: Recipe, after: Recipe) -> list[str]:
    """Return the changed settings that decide what is learned, as "train.lr 0.01 → 0.005"."""
    flat = [_flat(recipe.model_dump(mode="json", by_alias=True, exclude=NOT_LEARNED)) for recipe in (before, after)]
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
    """Return the resolved recipe as YAML, with a first line that names its origin."""
    return RESOLVED + yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True), sort_keys=False)
