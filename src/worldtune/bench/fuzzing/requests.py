"""Readers of generation requests, in YAML, JSON and JSON lines, with the files of their prompts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from worldtune.bench.fuzzing.oracle import json_in, json_of, says, yaml_of
from worldtune.bench.fuzzing.reader import Reader, RefusedError
from worldtune.generation.request import GenerationRequest, load_requests

REQUIRED = ("name", "inference_type")
REQUESTS: list[dict[str, Any]] = [
    {
        "name": "a",
        "inference_type": "text2world",
        "prompt": "The arm lifts the cup – slowly.",
        "seed": 7,
        "guidance": 3,
    },
    {
        "name": "b",
        "inference_type": "image2world",
        "prompt_path": "b.txt",
        "input_path": "b.png",
        "resolution": "64,96",
    },
    {
        "name": "c",
        "inference_type": "text2world",
        "prompt": "It turns.",
        "adapters": [{"path": "x", "weight": 0.5}, {"path": "y"}],
    },
]


def _write_requests(folder: Path, name: str) -> None:
    (folder / "b.txt").write_text("The arm turns – left.\n", encoding="utf-8")
    (folder / "b.png").write_bytes(b"x")
    lines = name.endswith(".jsonl")
    text = "".join(json.dumps(each) + "\n" for each in REQUESTS) if lines else json.dumps(REQUESTS, indent=2)
    text = yaml.safe_dump(REQUESTS, sort_keys=False) if name.endswith(".yaml") else text
    (folder / name).write_text(text, encoding="utf-8")


def _requests(name: str) -> Callable[[Path], Any]:
    """Requests as they are checked before anything is generated: with the texts of their prompts."""

    def read(folder: Path) -> Any:
        found = [(request.model_dump(mode="json"), request.text()) for request in load_requests(folder / name)]
        return [(_relative(request, folder), text) for request, text in found]

    return read


def _relative(value: Any, folder: Path) -> Any:
    """Paths as they stand in the file; ones that were absolute there stay."""
    if isinstance(value, dict):
        return {key: _relative(each, folder) for key, each in value.items()}
    if isinstance(value, list):
        return [_relative(each, folder) for each in value]
    if value == str(folder):
        return "."
    return value.removeprefix(f"{folder}/") if isinstance(value, str) else value


def _requests_of(name: str) -> Callable[[Path], Any]:
    def expect(folder: Path) -> Any:
        stated = _values(folder / name)
        for request in stated:
            if not isinstance(request, dict):
                raise RefusedError("a request is no mapping")
        return [(request, _prompt(request, folder)) for request in stated]

    return expect


def _values(path: Path) -> list[Any]:
    if path.suffix == ".jsonl":
        return [json_in(line) for line in path.read_bytes().decode().split("\n") if line.strip()]
    value = json_of(path) if path.suffix == ".json" else yaml_of(path)
    return value if isinstance(value, list) else [value]


def _prompt(request: dict[str, Any], folder: Path) -> str:
    if isinstance(request.get("prompt"), str):
        return str(request["prompt"])
    try:
        return (
            (folder / str(request.get("prompt_path")))
            .read_bytes()
            .decode()
            .replace("\r\n", "\n")
            .replace("\r", "\n")
            .strip()
        )
    except (OSError, ValueError) as error:
        raise RefusedError(f"the prompt cannot be read: {error}") from error


def _says_requests(found: Any, stated: Any) -> bool:
    usual = {key: field.get_default(call_default_factory=True) for key, field in GenerationRequest.model_fields.items()}
    usual = {
        key: list(value) if isinstance(value, tuple) else value for key, value in usual.items() if key not in REQUIRED
    }
    return len(found) == len(stated) and all(
        text == words and says(_plain(request), _plain(said), usual)
        for (request, text), (said, words) in zip(found, stated, strict=True)
    )


def _plain(value: Any) -> Any:
    """Paths without what means nothing in them, and adapters with what is usual of them."""
    if not isinstance(value, dict):
        return value
    value = dict(value)
    for key in ("prompt_path", "input_path", "adapter", "path"):
        if isinstance(value.get(key), str):
            value[key] = str(Path(value[key]))
    if isinstance(value.get("adapters"), list):
        value["adapters"] = [
            {"weight": 1.0, "release": None} | _plain(each) if isinstance(each, dict) else each
            for each in value["adapters"]
        ]
    return value


def _of_requests(name: str) -> Reader:
    strict = {"yaml": "strict YAML", "json": "strict JSON", "jsonl": "strict JSON, line by line"}[name.split(".")[1]]
    return Reader(name, f"{strict}; the prompts' bytes", lambda folder: _write_requests(folder, name), _requests(name),
                  _requests_of(name), (name, "b.txt"), _says_requests)  # fmt: skip


READERS = tuple(map(_of_requests, ("requests.yaml", "requests.json", "requests.jsonl")))
