"""The public API: its names, its lazy imports, and its examples, run on the pocket world."""

import doctest
import os
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import worldtune as wt

README = Path(__file__).parents[1] / "README.md"
HEAVY = ("torch", "diffusers", "transformers", "numpy", "pydantic", "sqlalchemy", "rich")
ORDER = [
    "load_recipe", "open_base", "open_dataset", "plan", "train", "generate", "convert_adapter", "merge_adapter",
    "blend_adapters", "rollout", "evaluate", "Registry", "train_policy", "evaluate_policy", "train_idm", "label",
    "evaluate_idm", "dream", "open_dreams", "dream_study", "join_dream_studies",
]  # fmt: skip
"""The order of the examples: later ones read the run of `train`."""


def test_import_loads_no_large_library() -> None:
    code = "import sys, worldtune; print([name for name in sys.argv[1:] if name in sys.modules], worldtune.__version__)"
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout == f"[] {wt.__version__}\n"


def test_every_public_name_exists_and_has_a_docstring() -> None:
    assert set(wt.__all__) < set(dir(wt))
    assert [name for name in dir(wt) if not getattr(wt, name).__doc__] == []
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        wt.trian  # noqa: B018


def test_help_page_lists_all_functions() -> None:
    page = pydoc.plain(pydoc.render_doc(wt))
    assert page.index("wt.load_recipe(") < page.index("class Registry") < page.index("FUNCTIONS")
    assert len(page.splitlines()) < 600
    assert all(f"    {name}(" in page for name in ORDER if name != "Registry")


@pytest.mark.slow
def test_docstring_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sorted(ORDER) == wt.__all__
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for name in ORDER:
        example = doctest.DocTestFinder(recurse=False).find(getattr(wt, name), name, globs={"wt": wt})
        assert example[0].examples, f"{name} has no example"
        output: list[str] = []
        runner.run(example[0], out=output.append)
        assert not output, "".join(output)
    assert sorted(os.listdir()) == ["both", "dreams", "first.safetensors", "merged", "registry", "runs", "videos"]


@pytest.mark.slow
def test_readme_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLDTUNE_REGISTRY", str(tmp_path / "registry"))
    (example,) = re.findall(r"```python\n(import worldtune as wt\n.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 8
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["run"].card.step in range(21)
    assert names["result"].report.is_file()
    assert names["release"].fact.name == "cell7/front/pick@1"
