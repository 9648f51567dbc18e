"""Readers of generation requests, in YAML, JSON and JSON lines, with the files of their prompts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fuzzing.oracle import matches, parse_json, parse_json_file, parse_yaml_file
from benchmarks.fuzzing.reader import Reader, RefusedError
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
    text = "".join(json.dumps(entry) + "\n" for entry in REQUESTS) if lines else json.dumps(REQUESTS, indent=2)
    text = yaml.safe_dump(REQUESTS, sort_keys=False) if name.endswith(".yaml") else text
    (folder / name).write_text(text, encoding="utf-8")


def _read_requests(name: str) -> Callable[[Path], Any]:
    """Return a reader of requests as they are checked before generation: with the texts of their prompts."""

    def read(folder: Path) -> Any:
        found = [(request.model_dump(mode="json"), request.text()) for request in load_requests(folder / name)]
        return [(_relative(request, folder), text) for request, text in found]

    return read


def _relative(value: Any, folder: Path) -> Any:
    """Return the value with paths as in the file; paths that were absolute there stay."""
    if isinstance(value, dict):
        return {key: _relative(entry, folder) for key, entry in value.items()}
    if isinstance(value, list):
        return [_relative(entry, folder) for entry in value]
    if value == str(folder):
        return "."
    return value.removeprefix(f"{folder}/") if isinstance(value, str) else value


def _expect_requests(name: str) -> Callable[[Path], Any]:
    def expect(folder: Path) -> Any:
        stated = _values(folder / name)
        for request in stated:
            if not isinstance(request, dict):
                raise RefusedError("a request is not a mapping")
        return [(request, _read_prompt(request, folder)) for request in stated]

    return expect


def _values(path: Path) -> list[Any]:
    if path.suffix == ".jsonl":
        return [parse_json(line) for line in path.read_bytes().decode().split("\n") if line.strip()]
    value = parse_json_file(path) if path.suffix == ".json" else parse_yaml_file(path)
    return value if isinstance(value, list) else [value]


def _read_prompt(request: dict[str, Any], folder: Path) -> str:
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


def _requests_match(found: Any, stated: Any) -> bool:
    defaults = {
        key: field.get_default(call_default_factory=True) for key, field in GenerationRequest.model_fields.items()
    }
    defaults = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in defaults.items()
        if key not in REQUIRED
    }
    return len(found) == len(stated) and all(
        text == prompt and matches(_normalize(request), _normalize(expected), defaults)
        for (request, text), (expected, prompt) in zip(found, stated, strict=True)
    )


def _normalize(value: Any) -> Any:
    """Return the value with simplified paths, and adapters with their defaults."""
    if not isinstance(value, dict):
        return value
    value = dict(value)
    for key in ("prompt_path", "input_path", "adapter", "path"):
        if isinstance(value.get(key), str):
            value[key] = str(Path(value[key]))
    if isinstance(value.get("adapters"), list):
        value["adapters"] = [
            {"weight": 1.0, "release": None} | _normalize(entry) if isinstance(entry, dict) else entry
            for entry in value["adapters"]
        ]
    return value


def _reader(name: str) -> Reader:
    strict = {"yaml": "strict YAML", "json": "strict JSON", "jsonl": "strict JSON, line by line"}[name.split(".")[1]]
    return Reader(name, f"{strict}; the prompts' bytes", lambda folder: _write_requests(folder, name),
                  _read_requests(name), _expect_requests(name), (name, "b.txt"), _requests_match)  # fmt: skip


READERS = tuple(map(_reader, ("requests.yaml", "requests.json", "requests.jsonl")))
