"""The rules of CONTRIBUTING.md that a machine can check."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("src", "benchmarks", "pretraining") for path in (ROOT / folder).rglob("*.py"))
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_exceeds_350_lines() -> None:
    long = [place(path) for path in FILES if len(path.read_text().splitlines()) > 350]
    assert long == ["src/worldtune/api.py"], "it consists mostly of docstrings"


def test_no_unfinished_code() -> None:
    assert [place(path) for path in FILES if UNFINISHED.search(path.read_text())] == []


def test_no_broad_except() -> None:
    broad = {"None", "Exception", "BaseException"}
    found = [where.rpartition(":")[0] for where, node in nodes(ast.ExceptHandler) if broad & caught(node)]
    assert found == ["benchmarks/fuzzing/attempt.py"], "there any exception of a reader is a finding"


def test_no_torchvision() -> None:
    assert [where for where, node in nodes(ast.Import, ast.ImportFrom) if "torchvision" in packages(node)] == []


def test_no_pickle_is_loaded() -> None:
    found = {where.rpartition(":")[0] for where, node in nodes(ast.Import, ast.ImportFrom) if PICKLES & packages(node)}
    assert found == {"src/worldtune/core/tensors/torch_pickle.py", "benchmarks/fuzzing/pickles.py"}, (
        "our reader and its oracle"
    )
    assert [where for where, node in nodes(ast.keyword) if node.arg == "allow_pickle"] == []
    loads = [(where, node) for where, node in nodes(ast.Call) if ast.unparse(node.func) == "torch.load"]
    ours = {where.rpartition(":")[0] for where, _ in loads if where.startswith("src")}
    assert ours == {"src/worldtune/core/tensors/torch_pickle.py"}
    assert [where for where, node in loads if "weights_only=True" not in ast.unparse(node)] == []


def test_only_the_strict_reader_reads_json_and_yaml() -> None:
    readers = {"json.load", "json.loads", "yaml.load", "yaml.load_all", "yaml.safe_load", "yaml.safe_load_all"}
    calls = [where.rpartition(":")[0] for where, node in nodes(ast.Call) if ast.unparse(node.func) in readers]
    calls += [
        where.rpartition(":")[0]
        for where, node in nodes(ast.Attribute)
        if node.attr in {"model_validate_json", "validate_json"}
    ]
    others = ("benchmarks/", "pretraining/")
    found = {file for file in calls if not file.startswith(others)}
    assert found - {"src/worldtune/core/tensors/read.py"} == {"src/worldtune/core/strict_io.py"}


def test_models_load_without_code_or_pickles() -> None:
    """SAFE_LOADING sets trust_remote_code=False. Processors and tokenizers have no weights."""
    calls = [(where, node) for where, node in nodes(ast.Call) if called(node) == "from_pretrained"]
    loads = [(where, ast.unparse(node)) for where, node in calls if where.startswith("src")]
    assert loads
    assert [
        where for where, text in loads if "trust_remote_code=False" not in text and "**SAFE_LOADING" not in text
    ] == []
    bare = re.compile(r"AutoProcessor|kind\.from_pretrained\(folder")
    assert [where for where, text in loads if "use_safetensors=True" not in text and not bare.match(text)] == []


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    """Yield every node of these kinds in our code, with its file and line."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds):
                yield f"{place(path)}:{getattr(node, 'lineno', '?')}", node


def caught(handler: ast.ExceptHandler) -> set[str]:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {"None" if kind is None else ast.unparse(kind) for kind in kinds}


def packages(node: ast.Import | ast.ImportFrom) -> set[str]:
    names = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return {name.split(".")[0] for name in names}


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))
