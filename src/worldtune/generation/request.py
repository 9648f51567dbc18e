"""Generation requests with the field names of NVIDIA's `examples/inference.py`, from JSON, JSONL or YAML.

Source: https://github.com/nvidia-cosmos/cosmos-predict2.5 (docs/inference.md). Paths are relative to the file.
A request file may come from someone else, and the content of its prompts and inputs ends up in videos and manifests:
they must lie in the file's folder. Adapters may lie elsewhere: they are checked tensors and change only the video.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from worldtune.core.ranges import Frames, SafePath, SafeText, Seed
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import MIB, read_bytes, read_json, read_json_lines, read_yaml
from worldtune.core.value_limits import find_bad_character
from worldtune.diffusion.conditioning import MODES
from worldtune.errors import RecipeError

InferenceType = Literal["text2world", "image2world", "video2world"]
READ_WITHIN = ("prompt_path", "input_path")
ADAPTERS = ("adapter", "path")
LARGEST_PROMPT = MIB
LONGEST_NAME = 128  # of a request: a file name with its suffix has at most 255 bytes
MOST_STEPS = 10_000
MOST_ADAPTERS = 64
STRONGEST = 1000.0  # weight of an adapter
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


class WeightedAdapter(StrictModel):
    """One of several adapters whose weighted changes are summed."""

    path: SafePath
    weight: float = Field(1.0, ge=-STRONGEST, le=STRONGEST)
    release: str | None = Field(None, description="its release in a registry: worldtune sets it")
    card: str | None = Field(None, exclude=True, description="the digest of its card: worldtune sets it")


class GenerationRequest(StrictModel):
    """A request for one video.

    `resolution` is "none" (the base's default) or "H,W"; `guidance` g means v + g·(v − v_negative).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME)
    inference_type: InferenceType
    prompt: SafeText | None = None
    prompt_path: SafePath | None = None
    negative_prompt: SafeText | None = Field(None, description="default: diffusers' negative prompt")
    input_path: SafePath | None = None
    seed: Seed = 0
    guidance: int | None = Field(None, ge=0, le=7, description="default: the base's")
    resolution: str = Field("none", pattern=r"^(none|[0-9]{1,5},[0-9]{1,5})$")
    num_output_frames: Frames | None = Field(None, description="default: the base's")
    num_steps: int = Field(35, ge=1, le=MOST_STEPS, description="NVIDIA's count: a Karras base evaluates once more")
    enable_autoregressive: bool = False
    chunk_size: Frames | None = Field(
        None, ge=5, description="with enable_autoregressive; default: the base's number of frames"
    )
    chunk_overlap: Literal[1, 5] = 1
    noise: Literal["torch", "numpy"] = Field("torch", description="numpy: the noise of NVIDIA's own tool")
    actions: SafeText | None = Field(None, description="a .npz or .parquet file, or DATASET#EPISODE")
    action_guidance: float | None = Field(
        None, ge=0, le=7, description="a·(v − v without actions); default: 1 for an adapter's own action embedder"
    )
    adapter: SafePath | None = None
    adapters: tuple[WeightedAdapter, ...] = Field((), max_length=MOST_ADAPTERS)

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _without_byte_order_mark(cls, text: str | None) -> str | None:
        """Return the text without a byte order mark, which a shell or an editor may have pasted."""
        return text and text.removeprefix("\ufeff")

    @model_validator(mode="after")
    def _inputs_fit_the_mode(self) -> "GenerationRequest":
        if (self.prompt is None) == (self.prompt_path is None):
            raise ValueError("give either prompt or prompt_path")
        if (self.inference_type == "text2world") != (self.input_path is None):
            raise ValueError("image2world and video2world need input_path; text2world takes none")
        if self.adapter and self.adapters:
            raise ValueError("give either adapter or adapters")
        if self.noise == "numpy" and self.seed >= 2**32:
            raise ValueError("numpy's seeds must be below 2**32")
        return self

    @property
    def weighted_adapters(self) -> tuple[WeightedAdapter, ...]:
        return (WeightedAdapter(path=self.adapter),) if self.adapter else self.adapters

    @property
    def known_latents(self) -> int:
        """The number of latent frames that come from the input: 0, 1 or 2."""
        return next(k for k, mode in MODES.items() if mode == self.inference_type)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), or None for the base's default."""
        if self.resolution == "none":
            return None
        height, width = self.resolution.split(",")
        return int(height), int(width)

    def text(self) -> str:
        """Return the prompt. Raise RecipeError if it is empty or its file cannot be read."""
        prompt = self.prompt if self.prompt is not None else self._prompt_file()
        if fault := find_bad_character(prompt):
            raise RecipeError(f"the prompt holds {fault}", where=self.name, hint="Remove it.")
        if not prompt.strip():
            raise RecipeError("the prompt is empty", where=self.name, hint="Describe what happens in the video.")
        return prompt

    def _prompt_file(self) -> str:
        path = self.prompt_path
        assert path is not None
        if not os.path.lexists(path):
            raise RecipeError("the prompt file is missing", where=str(path), hint="Correct prompt_path.")
        content = read_bytes(path, LARGEST_PROMPT, RecipeError, "Correct prompt_path.")
        try:
            return "\n".join(content.decode("utf-8-sig").replace("\r\n", "\n").split("\r")).strip()
        except UnicodeDecodeError as error:
            raise RecipeError("the prompt is not UTF-8 text", where=str(path), hint="Save it as UTF-8.") from error


def is_picture(path: Path) -> bool:
    """Return whether an input is an image, by its suffix; otherwise it is a video."""
    return path.suffix.lower() in PICTURES


def change_adapters(
    requests: Iterable[GenerationRequest], change: Callable[[WeightedAdapter], WeightedAdapter]
) -> list[GenerationRequest]:
    """Return the requests with `change` applied to each of their adapters."""
    return [
        request.model_copy(update={"adapter": None, "adapters": tuple(map(change, request.weighted_adapters))})
        for request in requests
    ]


def with_adapters(request: GenerationRequest, adapters: Sequence[WeightedAdapter]) -> GenerationRequest:
    """Return the request with these adapters, unless it names its own."""
    if request.weighted_adapters or not adapters:
        return request
    if len(adapters) == 1 and adapters[0].weight == 1:
        return request.model_copy(update={"adapter": adapters[0].path})
    return request.model_copy(update={"adapters": tuple(adapters)})


def load_requests(path: Path) -> list[GenerationRequest]:
    """Return the requests of a file: one object, a list, or one object per line (JSONL).

    Raise RecipeError for a missing, empty or malformed file, unknown fields, and duplicate names.
    """
    if not path.is_file():
        raise RecipeError("no such request file", where=str(path), hint="Correct the path.")
    items = _items(path)
    if not items:
        raise RecipeError("the file has no request", where=str(path), hint="Write one; see `generate --help`.")
    requests = [
        parse_model(GenerationRequest, _anchored(item, path.parent), f"{path}, request {number}")
        for number, item in enumerate(items, 1)
    ]
    names = [request.name for request in requests]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        hint = "Use each name once: names become file names."
        raise RecipeError(f"the name '{twice[0]}' occurs twice", where=str(path), hint=hint)
    return requests


def _items(path: Path) -> list[Any]:
    if path.suffix == ".jsonl":
        return read_json_lines(path, error=RecipeError)
    data = (read_json if path.suffix == ".json" else read_yaml)(path, error=RecipeError)
    if data is None:
        return []
    return data if isinstance(data, list) else [data]


def _names_release(text: str, folder: Path) -> bool:
    """Return whether `text` names a release, such as NAME@CHANNEL, and not an existing path."""
    return "@" in text and not (folder / text).exists()


def _real(path: Path) -> Path:
    """Return the path with links resolved; a link to itself stays, and cannot be opened."""
    return Path(os.path.realpath(path))


def _anchored(item: Any, folder: Path) -> Any:
    """Return a request with its paths relative to its file's folder.

    Raise RecipeError if a prompt or an input lies outside this folder.
    """
    if not isinstance(item, dict):
        return item
    anchored: dict[str, Any] = dict(item)
    for key in ("prompt_path", "input_path", "adapter", "path"):
        if isinstance(item.get(key), str) and not (key in ADAPTERS and _names_release(item[key], folder)):
            anchored[key] = folder / item[key]
    for key in READ_WITHIN:
        if isinstance(item.get(key), str) and not _real(anchored[key]).is_relative_to(_real(folder)):
            raise RecipeError(
                f"{key} leaves the request file's folder", where=str(item[key]), hint="Put it into that folder."
            )
    if isinstance(item.get("actions"), str):
        anchored["actions"] = _anchored_actions(item["actions"], folder)
    if isinstance(item.get("adapters"), list):
        anchored["adapters"] = [_anchored(adapter, folder) for adapter in item["adapters"]]
    return anchored


def _anchored_actions(text: str, folder: Path) -> str:
    """Return the path of a request's actions relative to its file's folder; a shipped or hub dataset keeps its name.

    Raise RecipeError if it lies outside this folder.
    """
    if text.startswith(("builtin:", "hf:")):
        return text
    if not _real(folder / text.rpartition("#")[0] if "#" in text else folder / text).is_relative_to(_real(folder)):
        what = "actions leaves the request file's folder"
        raise RecipeError(what, where=text, hint="Put the file into that folder.")
    return str(folder / text)
