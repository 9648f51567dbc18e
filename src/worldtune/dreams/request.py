"""What to dream: first frames × instructions × seeds × adapters, from a YAML file or from options."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from worldtune.core.ranges import SafePath, SafeText, Seed
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_yaml
from worldtune.data.captioning.captions import template_fields
from worldtune.errors import RecipeError

Outcome = Literal["success", "failure", "rare"]
CriticName = Literal["motion", "anomaly", "path", "disagreement"]
CRITICS: tuple[CriticName, ...] = ("motion", "anomaly", "path", "disagreement")
FRAME_FIELDS = ("task", "camera", "caption")


class Instruction(StrictModel):
    """A prompt for first frames, and whether its video shows a success, a failure or a rare event.

    text: a template with the fields task, camera and caption of the first frame. task: the template of the episode's
    task text; None: the first frame's task, or the prompt if the first frame has none. tasks: only for first frames
    with these tasks.
    """

    text: SafeText = "{caption}"
    outcome: Outcome = "success"
    task: SafeText | None = None
    tasks: tuple[str, ...] | None = None

    @field_validator("text", "task")
    @classmethod
    def _check_fields(cls, template: str | None) -> str | None:
        if template is not None:
            for name in template_fields(template):
                if name not in FRAME_FIELDS:
                    raise ValueError(f"a first frame has no field '{{{name}}}'; it has {', '.join(FRAME_FIELDS)}")
        return template


class JudgeSettings(StrictModel):
    """A vision-language model: its folder, or its name at an OpenAI-compatible endpoint."""

    model: str
    endpoint: str | None = None


class DreamRequest(StrictModel):
    """A request for dreams. Paths are relative to the current folder, as in a recipe.

    base: a base model. adapters: folders or releases; without one, the base dreams alone. images: a folder of first
    frames. data: the `data` section of a recipe, whose episodes' first frames are used; frames, fps, height and width
    are the model's by default. episodes: which of them. seeds: videos of each first frame and instruction, each with
    its own noise, from `seed` on. steps: evaluations of the denoiser. guidance: g of v + g·(v − v_dropped); None: the
    base's. idm: the inverse dynamics model that labels the videos. max_dreams: make only the first ones; the order
    covers every first frame and adapter before the next seed. critics: which critics judge the dreams; `reference`
    holds the real clips to calibrate them, None: those of `data`. judge: a further critic.
    """

    base: str = "pocket"
    adapters: tuple[str, ...] = ()
    images: SafePath | None = None
    data: dict[str, Any] | None = None
    episodes: Literal["held_out", "train", "all"] = "held_out"
    instructions: tuple[Instruction, ...] = Field((Instruction(),), min_length=1)
    seeds: int = Field(1, ge=1, le=100_000)
    seed: Seed = 0
    steps: int = Field(12, ge=1, le=10_000)
    guidance: int | None = Field(None, ge=0, le=7)
    idm: str
    max_dreams: int | None = Field(None, ge=1)
    critics: tuple[CriticName, ...] = CRITICS
    reference: dict[str, Any] | None = None
    judge: JudgeSettings | None = None

    @model_validator(mode="after")
    def _check_sources(self) -> "DreamRequest":
        if (self.images is None) == (self.data is None):
            raise ValueError("give first frames: either images or data")
        if len(set(self.adapters)) < len(self.adapters):
            raise ValueError("an adapter is named twice")
        if self.critics and self.data is None and self.reference is None:
            raise ValueError("critics are calibrated on real clips: give reference, or critics: []")
        return self


def read_request(request: "DreamRequest | str | Path | None", settings: Mapping[str, Any]) -> DreamRequest:
    """Return the request, or that in a YAML file, with `settings` in place of its keys.

    `data` and `reference` may be a path alone. Raise RecipeError for a missing file and unknown or wrong keys.
    """
    if isinstance(request, DreamRequest):
        keys, where = request.model_dump(mode="json", exclude_defaults=True), "dream"
    else:
        keys, where = ({}, "dream") if request is None else (_read_keys(Path(request)), str(request))
    keys = keys | dict(settings)
    paths = {
        name: {"path": str(keys[name])} for name in ("data", "reference") if isinstance(keys.get(name), str | Path)
    }
    return parse_model(DreamRequest, keys | paths, where)


def _read_keys(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RecipeError("there is no such request", where=str(path), hint="Correct the path.")
    content = read_yaml(path, error=RecipeError)
    if not isinstance(content, dict):
        raise RecipeError("a request must be a mapping", where=str(path), hint="See `worldtune dream --help`.")
    return content
