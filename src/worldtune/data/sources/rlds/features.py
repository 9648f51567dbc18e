"""The features of an RLDS dataset's steps, from features.json.

Format: tensorflow/datasets `core/proto/feature.proto`, as JSON; RLDS: github.com/google-research/rlds.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldtune.core.strict_io import read_json
from worldtune.data.ledger import DEPTH
from worldtune.data.sources.depth import DEPTH_NAME as DEPTH_NAME
from worldtune.errors import DataError

HINT = "Restore the file: tensorflow-datasets writes it beside the records."
OBSERVATION = "steps/observation/"
STATE_NAMES = re.compile(r"(joint|cartesian|gripper|eef?|tcp)_(pos|position|state|pose)s?")
IMAGE_ENCODINGS = ("jpeg", "png", "")


@dataclass(frozen=True)
class StepFeatures:
    """The features of a step.

    cameras: by name the feature, and why it has no usable images, or "". states, action: features and widths. `texts`:
    the features of task texts, best first. `unread`: whether actions are split into parts, which are not read.
    """

    cameras: dict[str, tuple[str, str]]
    states: list[tuple[str, int]]
    action: tuple[str, int] | None
    texts: list[str]
    unread: bool


def read_step_features(path: Path) -> StepFeatures:
    """Return the features in the file. Raise DataError if it cannot be read or has no steps."""
    features = read_json(path, hint=HINT)
    try:
        steps = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]
        return _parse_steps(dict(_leaves("steps", steps)))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = "its features are not those of episodes of steps (RLDS)"
        raise DataError(what, where=str(path), hint="Convert it to LeRobot, robomimic HDF5 or mp4 files.") from error


def _parse_steps(leaves: dict[str, dict[str, Any]]) -> StepFeatures:
    images = {name: leaf["image"] for name, leaf in leaves.items() if isinstance(leaf.get("image"), dict)}
    cameras = {_camera(name): (name, _unusable_reason(name, child)) for name, child in images.items()}
    widths = {name: width for name, leaf in leaves.items() if (width := _width(leaf)) is not None}
    texts = [name for name in leaves if "language_instruction" in name and "embedding" not in name]
    action = ("steps/action", widths["steps/action"]) if "steps/action" in widths else None
    unread = action is None and any(name.startswith("steps/action/") for name in leaves)
    return StepFeatures(cameras, _states(widths), action, sorted(texts, key=_sort_key), unread)


def _camera(name: str) -> str:
    return name.removeprefix(OBSERVATION).removeprefix("steps/")


def _leaves(name: str, feature: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the features that contain values, by their full names."""
    inside = feature.get("featuresDict")
    if inside is None:
        yield name, feature
        return
    for part, child in inside["features"].items():
        yield from _leaves(f"{name}/{part}", child)


def _unusable_reason(name: str, image: dict[str, Any]) -> str:
    """Return why an image feature has no usable images, or ""."""
    shape, dtype = _sides(image.get("shape")), image.get("dtype", "uint8")
    if DEPTH_NAME.search(name) or (dtype != "uint8" and shape[-1:] == [1]):
        return DEPTH
    if dtype != "uint8" or image.get("encodingFormat", "") not in IMAGE_ENCODINGS:
        return f"images are {dtype}, encoded as {image.get('encodingFormat')!r}"
    return ""


def _width(leaf: dict[str, Any]) -> int | None:
    """Return how many floats a tensor has per step; None if it has no floats or no fixed size."""
    tensor = leaf.get("tensor")
    if (
        not isinstance(tensor, dict)
        or tensor.get("dtype") not in ("float32", "float64")
        or tensor.get("encoding", "none") != "none"
    ):
        return None
    sides = _sides(tensor.get("shape"))
    return math.prod(sides) if all(side > 0 for side in sides) else None


def _sides(shape: Any) -> list[int]:
    return [int(side) for side in shape.get("dimensions", [])] if isinstance(shape, dict) else []


def _states(widths: dict[str, int]) -> list[tuple[str, int]]:
    for name in ("state", "proprio"):
        if OBSERVATION + name in widths:
            return [(OBSERVATION + name, widths[OBSERVATION + name])]
    observed = (name for name in sorted(widths) if name.startswith(OBSERVATION))
    return [(name, widths[name]) for name in observed if STATE_NAMES.fullmatch(name.removeprefix(OBSERVATION))]


def _sort_key(name: str) -> tuple[int, str]:
    """Return a key that sorts the plain name first, then names in the observation."""
    return (name.count("/"), name)
