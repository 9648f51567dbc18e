"""A cache key covers every source file that makes the value, in any folder, and no other file."""

import subprocess
import sys
from pathlib import Path

import pytest

from worldtune.core.code_digest import PACKAGE, code_digest, digest_reached, reached
from worldtune.evaluation.cache.score_cache import BASE_LOADER, CLIP_READER

VIDEOS = ("worldtune.evaluation.candidates.video_generator", BASE_LOADER)
SCORES = ("worldtune.evaluation.scoring.score_case", CLIP_READER)


def test_only_reached_files_change_the_digest(tmp_path: Path) -> None:
    package = tmp_path / "worldtune"
    for file in PACKAGE.rglob("*.py"):
        copy = package / file.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    counting = set(reached(package, VIDEOS).values())
    others = set(package.rglob("*.py")) - counting
    rooms = {file.relative_to(package).parts[0] for file in others}
    assert {"cli", "registry", "planning", "sim", "__init__.py"} <= rooms
    before = code_digest(*VIDEOS)
    for file in others:
        file.write_text("another = 1")
    assert digest_reached(package, VIDEOS) == before
    for file in counting:
        text = file.read_bytes()
        file.write_bytes(text + b"\n")
        assert digest_reached(package, VIDEOS) != before, file
        file.write_bytes(text)


def test_code_that_makes_videos_and_scores_is_reached() -> None:
    makes_videos = reached(PACKAGE, VIDEOS)
    for name in (
        "generation.sampler",
        "diffusion.schedules",
        "models.transformer.denoiser",
        "models.load",
        "adapters.layers.memory_efficient_lora",
    ):
        assert f"worldtune.{name}" in makes_videos
    makes_scores = reached(PACKAGE, SCORES)
    metrics = {file.stem for file in (PACKAGE / "evaluation/metrics").glob("[a-z]*.py")}
    others = {name for name in metrics if f"worldtune.evaluation.metrics.{name}" not in makes_scores}
    assert others == {"anomaly", "end_points", "paths", "trajectory"}, "which scorers of their own import"


def test_every_module_that_python_loads_is_reached() -> None:
    modules = VIDEOS + SCORES
    code = f"import sys, {', '.join(modules)}; print(*[name for name in sys.modules if name.startswith('worldtune.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    of_the_root = {"worldtune.core.version"}  # imported by the package's own __init__
    assert set(done.stdout.split()) - of_the_root <= set(reached(PACKAGE, modules))


def make_package(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "house"


@pytest.mark.parametrize(
    "text",
    [
        "import house.a.b",
        "from house.a import b",
        "from house.a.b import c as d",
        "def f():\n    if f:\n        from house.a import b",
        "try:\n    import os\nexcept ImportError:\n    from .a import b",
        "from .a.b import c",
        "from . import x\nmatch x:\n    case 1:\n        import house.a.b",
        "if TYPE_CHECKING:\n    import os\nelse:\n    import house.a.b",
    ],
)
def test_imports_are_followed_wherever_they_are(tmp_path: Path, text: str) -> None:
    files = {"maker.py": text, "a/__init__.py": "", "a/b.py": "from .c import d", "a/c.py": "d = 1", "other.py": ""}
    found = reached(make_package(tmp_path, files), ("house.maker",))
    assert set(found) == {"house.maker", "house.a", "house.a.b", "house.a.c"}


def test_type_checking_imports_are_not_followed(tmp_path: Path) -> None:
    text = "import typing\nif typing.TYPE_CHECKING:\n    from house import a\nfrom house import __version__"
    folder = make_package(tmp_path, {"maker.py": text, "a.py": "", "__init__.py": "from house import a"})
    assert list(reached(folder, ("house.maker",))) == ["house.maker"]


def test_module_that_becomes_a_package_is_followed(tmp_path: Path) -> None:
    folder = make_package(tmp_path, {"maker.py": "from house.a import b", "a.py": "b = 1"})
    digests = [digest_reached(folder, ("house.maker",))]
    (folder / "a.py").unlink()
    for number in (1, 2):
        make_package(
            tmp_path, {"a/__init__.py": "from house.a.inner.deep import b", "a/inner/deep.py": f"b = {number}"}
        )
        digests.append(digest_reached(folder, ("house.maker",)))
    assert len(set(digests)) == 3


def test_unknown_module_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"worldtune\.evaluation\.moved is not a module of worldtune"):
        code_digest("worldtune.evaluation.moved")
    with pytest.raises(ValueError, match="json is not a module of worldtune"):
        code_digest("json")
