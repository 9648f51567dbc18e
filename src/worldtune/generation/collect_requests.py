"""Collect the user's requests: from a file, from a sequence, or one from options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldtune.core.settings import parse_model
from worldtune.errors import UserError
from worldtune.generation.request import (
    GenerationRequest,
    WeightedAdapter,
    is_picture,
    load_requests,
    with_adapters,
)

Requests = str | Path | Sequence[GenerationRequest] | None
Adapters = str | Path | Sequence[str | Path | tuple[str | Path, float]] | Mapping[str | Path, float] | None
"""One adapter, several, or several with their strengths."""


@dataclass(frozen=True)
class Options:
    """One request as options. None means the request's default; without `inference_type` the input's kind decides."""

    name: str | None = None
    inference_type: str | None = None
    prompt: str | None = None
    input_path: Path | None = None
    seed: int | None = None
    num_steps: int | None = None
    guidance: int | None = None
    actions: str | None = None
    action_guidance: float | None = None


def collect_requests(requests: Requests, options: Options, adapters: Adapters) -> list[GenerationRequest]:
    """Return the requests of a file or sequence, or without these one request from the options, with the adapters.

    A request's own adapters take precedence. Raise RecipeError for a malformed request, UserError if both requests and
    options are given.
    """
    given = {name: value for name, value in vars(options).items() if value is not None}
    if requests is None:
        still = options.input_path is not None and is_picture(options.input_path)
        kind = "image2world" if still else "video2world" if options.input_path else "text2world"
        collected = [parse_model(GenerationRequest, {"name": "video", "inference_type": kind} | given, "command line")]
    elif given:
        where = str(requests) if isinstance(requests, str | Path) else "requests"
        what = f"{', '.join(given)} would be ignored: the request file sets it"
        raise UserError(what, where=where, hint="Omit the option or the request file.")
    elif isinstance(requests, str | Path):
        collected = load_requests(Path(requests))
    else:
        collected = list(requests)
    weighted = [
        parse_model(WeightedAdapter, {"path": str(path), "weight": weight}, "--adapter")
        for path, weight in pairs_of(adapters)
    ]
    return [with_adapters(request, weighted) for request in collected]


def input_of(image: str | Path | None, video: str | Path | None) -> Path | None:
    """Return the path of the image or video, None without either. Raise UserError if both are given."""
    if image is not None and video is not None:
        raise UserError("a video continues either an image or a video", where="generate", hint="Give one of them.")
    given = image if video is None else video
    return None if given is None else Path(given)


def path_text(path: str | Path | None) -> str | None:
    """Return a path as text, None without one."""
    return None if path is None else str(path)


def pairs_of(adapters: Adapters) -> list[tuple[str | Path, float]]:
    """Return each adapter with its strength, by default 1."""
    if adapters is None:
        return []
    if isinstance(adapters, str | Path):
        return [(adapters, 1.0)]
    listed = adapters.items() if isinstance(adapters, Mapping) else adapters
    return [item if isinstance(item, tuple) else (item, 1.0) for item in listed]
