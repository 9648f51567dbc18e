"""Generation requests with the field names of NVIDIA's `examples/inference.py`, from JSON, JSONL or YAML.

Source: https://github.com/nvidia-cosmos/cosmos-predict2.5 (docs/inference.md). Paths are relative to the file.
A file may come from somebody else: the prompts and inputs it names must lie in its own folder, as what they hold ends
in videos and manifests. Adapters may lie elsewhere: they are checked, tensors alone, and change nothing but the video.
"""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from worldtune.core.ranges import Frames, Seed, SoundPath, Text
from worldtune.core.strict_io import MIB, read_bytes, read_json, read_json_lines, read_yaml
from worldtune.core.values import bad_character
from worldtune.diffusion.conditioning import MODES
from worldtune.errors import RecipeError
from worldtune.strict import Strict, parse

InferenceType = Literal["text2world", "image2world", "video2world"]
READ_WITHIN = ("prompt_path", "input_path")
ADAPTERS = ("adapter", "path")
LARGEST_PROMPT = MIB
LONGEST_NAME = 128  # of a request: a file's name with its endings has at most 255 bytes
MOST_STEPS = 10_000
MOST_ADAPTERS = 64
STRONGEST = 1000.0  # weight of an adapter
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
NEGATIVE_PROMPT = (
    "The video captures a series of frames showing ugly scenes, static with no motion, motion blur, over-saturation, "
    "shaky footage, low resolution, grainy texture, pixelated images, poorly lit areas, underexposed and overexposed "
    "scenes, poor color balance, washed out colors, choppy sequences, jerky movements, low frame rate, artifacting, "
    "color banding, unnatural transitions, outdated special effects, fake elements, unconvincing visuals, poorly "
    "edited content, jump cuts, visual noise, and flickering. Overall, the video is of poor quality."
)


class WeightedAdapter(Strict):
    """One of several adapters whose changes are added up."""

    path: SoundPath
    weight: float = Field(1.0, ge=-STRONGEST, le=STRONGEST)
    release: str | None = Field(None, description="which release of a registry it is: worldtune says it")
    card: str | None = Field(None, exclude=True, description="the digest of its card: worldtune says it")


class GenerationRequest(Strict):
    """One video. `resolution` is "none" (the base's own) or "H,W"; `guidance` g means v + g·(v − v_negative)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME)
    inference_type: InferenceType
    prompt: Text | None = None
    prompt_path: SoundPath | None = None
    negative_prompt: Text = NEGATIVE_PROMPT
    input_path: SoundPath | None = None
    seed: Seed = 0
    guidance: int = Field(7, ge=0, le=7)
    resolution: str = Field("none", pattern=r"^(none|[0-9]{1,5},[0-9]{1,5})$")
    num_output_frames: Frames | None = Field(None, description="the base's own number when not given")
    num_steps: int = Field(35, ge=1, le=MOST_STEPS, description="NVIDIA's counting: a Karras base evaluates once more")
    enable_autoregressive: bool = False
    chunk_size: Frames | None = Field(
        None, ge=5, description="with enable_autoregressive; the base's own when not given"
    )
    chunk_overlap: Literal[1, 5] = 1
    noise: Literal["torch", "numpy"] = Field("torch", description="numpy: the noise of NVIDIA's own tool")
    adapter: SoundPath | None = None
    adapters: tuple[WeightedAdapter, ...] = Field((), max_length=MOST_ADAPTERS)

    @model_validator(mode="after")
    def _inputs_fit_the_mode(self) -> "GenerationRequest":
        if (self.prompt is None) == (self.prompt_path is None):
            raise ValueError("give either prompt or prompt_path")
        if (self.inference_type == "text2world") != (self.input_path is None):
            raise ValueError("image2world and video2world need input_path, and text2world takes none")
        if self.adapter and self.adapters:
            raise ValueError("give either adapter or adapters")
        if self.noise == "numpy" and self.seed >= 2**32:
            raise ValueError("numpy's seeds are below 2**32")
        return self

    @property
    def weighted_adapters(self) -> tuple[WeightedAdapter, ...]:
        return (WeightedAdapter(path=self.adapter),) if self.adapter else self.adapters

    @property
    def known_latents(self) -> int:
        """Latent frames that the input gives: 0, 1 or 2."""
        return next(k for k, mode in MODES.items() if mode == self.inference_type)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), or None for the base's own."""
        if self.resolution == "none":
            return None
        height, width = self.resolution.split(",")
        return int(height), int(width)

    def text(self) -> str:
        """The prompt. Raises RecipeError when its file cannot be read, or it is empty."""
        prompt = self.prompt if self.prompt is not None else self._prompt_file()
        if fault := bad_character(prompt):
            raise RecipeError(f"the prompt holds {fault}", where=self.name, mend="Take it out.")
        if not prompt.strip():
            raise RecipeError("the prompt is empty", where=self.name, mend="Say what happens in the video.")
        return prompt

    def _prompt_file(self) -> str:
        path = self.prompt_path
        assert path is not None
        if not os.path.lexists(path):
            raise RecipeError("the prompt file is missing", where=str(path), mend="Correct prompt_path.")
        content = read_bytes(path, LARGEST_PROMPT, RecipeError, "Correct prompt_path.")
        try:
            return "\n".join(content.decode().replace("\r\n", "\n").split("\r")).strip()
        except UnicodeDecodeError as error:
            raise RecipeError("the prompt is not UTF-8 text", where=str(path), mend="Save it as UTF-8.") from error


def with_adapter(request: GenerationRequest, adapter: Path | None) -> GenerationRequest:
    """The request with this adapter, unless it names its own."""
    return request if request.weighted_adapters else request.model_copy(update={"adapter": adapter})


def load_requests(path: Path) -> list[GenerationRequest]:
    """Every request of a file: one object, a list, or one object a line (JSONL).

    Raises RecipeError for a file that is absent, empty or malformed, unknown fields, and names that occur twice.
    """
    if not path.is_file():
        raise RecipeError("there is no such request file", where=str(path), mend="Correct the path.")
    items = _items(path)
    if not items:
        raise RecipeError("there is no request in the file", where=str(path), mend="Write one; see `generate --help`.")
    requests = [
        parse(GenerationRequest, _anchored(item, path.parent), f"{path}, request {number}")
        for number, item in enumerate(items, 1)
    ]
    names = [request.name for request in requests]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"the name '{twice[0]}' occurs twice", where=str(path), mend="Names become file names.")
    return requests


def _items(path: Path) -> list[Any]:
    if path.suffix == ".jsonl":
        return read_json_lines(path, error=RecipeError)
    data = (read_json if path.suffix == ".json" else read_yaml)(path, error=RecipeError)
    if data is None:
        return []
    return data if isinstance(data, list) else [data]


def _names_release(text: str, folder: Path) -> bool:
    """NAME@CHANNEL and its like are of a registry, unless a path is called so."""
    return "@" in text and not (folder / text).exists()


def _real(path: Path) -> Path:
    """Where a path leads; one that leads to itself stays, and cannot be opened."""
    return Path(os.path.realpath(path))


def _anchored(item: Any, folder: Path) -> Any:
    """Relative paths of a request are meant from its file. Raises RecipeError for what is read elsewhere."""
    if not isinstance(item, dict):
        return item
    anchored: dict[str, Any] = dict(item)
    for key in ("prompt_path", "input_path", "adapter", "path"):
        if isinstance(item.get(key), str) and not (key in ADAPTERS and _names_release(item[key], folder)):
            anchored[key] = folder / item[key]
    for key in READ_WITHIN:
        if isinstance(item.get(key), str) and not _real(anchored[key]).is_relative_to(_real(folder)):
            raise RecipeError(
                f"{key} leaves the request file's folder", where=str(item[key]), mend="Put it beside the file."
            )
    if isinstance(item.get("adapters"), list):
        anchored["adapters"] = [_anchored(one, folder) for one in item["adapters"]]
    return anchored
