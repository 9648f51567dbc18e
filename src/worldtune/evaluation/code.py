"""What of this package's code a video or a score depends on, as a digest: what other code made is another thing."""

from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable

from worldtune.files import digest_json

MAKING = ("diffusion", "generation", "worlds", "adapters", "evaluation/suite.py")
"""The rooms and files that make a video."""
MEASURING = (
    "evaluation/metrics", "evaluation/scorers", "evaluation/learned", "evaluation/scoring.py", "evaluation/controls.py",
    "evaluation/case.py",
)  # fmt: skip
"""Those that measure one."""
LIBRARIES = ("opencv-python-headless", "numpy", "torch", "transformers", "av")


@cache
def code(parts: tuple[str, ...] = MEASURING) -> str:
    """Of every source file in these, and of the libraries that they stand on."""
    house = files("worldtune")
    return digest_json([{name: version(name) for name in LIBRARIES}, [_sources(house / part) for part in parts]])


def _sources(place: Traversable) -> dict[str, str]:
    inside = place.iterdir() if place.is_dir() else [place]
    return {each.name: each.read_text(encoding="utf-8") for each in inside if each.name.endswith(".py")}
