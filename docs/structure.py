"""Measure the structure that CONTRIBUTING.md describes: `python docs/structure.py`.

Counts files per folder, the import depth of each package, import cycles, lines, long functions, long signatures, and
private words. With `--traces`, trace real calls on the pocket world instead: from a dataset to a training batch, and
from an adapter's folder to a video.
"""

import argparse
import ast
import inspect
import io
import re
import sys
import tempfile
import threading
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "worldtune"
PROMPT = "Seen from above: the robot arm opens the drawer."
CLIP = frozenset({"Recording", "Episode", "Candidate", "Clip", "LatentClip", "Part"})
"""The types that represent a clip; below, an adapter."""
ADAPTER = frozenset({"WeightedAdapter", "AdapterCard", "AdapterSpec", "ModuleSpec"})
LONGEST_FUNCTION, MOST_PARAMETERS = 60, 8
Graph = dict[Path, set[Path]]
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Print the counts, or with --traces the traces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", action="store_true")
    if parser.parse_args().traces:
        for name, trace in (("a clip", trace_clip), ("an adapter", trace_adapter)):
            print_trace(name, trace())
        return
    graph = imports()
    print("files per folder")
    for folder, count in sorted(files_per_folder().items(), key=lambda item: -item[1]):
        print(f"  {count:4d}  {folder}")
    print("import depth: the longest chain of imports inside a package")
    for package in packages():
        print(f"  {import_depth(graph, package):4d}  {package.name}")
    print(f"import cycles: {len(import_cycles(graph))}")
    for cycle in import_cycles(graph):
        print("  " + ", ".join(map(relative, cycle)))
    print("lines: " + ", ".join(f"{count} {kind}" for kind, count in lines().items()))
    for title, functions_found in (
        (f"functions over {LONGEST_FUNCTION} lines", long_functions()),
        (f"functions over {MOST_PARAMETERS} parameters, outside cli/", long_signatures()),
    ):
        print(f"{title}: {len(functions_found)}")
        for name, size in functions_found:
            print(f"  {size:4d}  {name}")
    words = private_words()
    print(f"private words left: {words.total()}")
    print("  " + ", ".join(f"{word} {count}" for word, count in words.most_common()))


@cache
def modules() -> dict[Path, ast.Module]:
    """Return the syntax tree of every module of the package."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def relative(path: Path) -> str:
    """Return a path relative to the package's folder."""
    return path.relative_to(PACKAGE).as_posix()


def files_per_folder() -> Counter[str]:
    """Return the number of modules in each folder, without `__init__.py` and sub-folders."""
    counts = Counter(relative(path.parent) for path in modules() if path.name != "__init__.py")
    return Counter({folder if folder != "." else "worldtune": count for folder, count in counts.items()})


def packages() -> list[Path]:
    """Return the packages directly under worldtune that have modules."""
    return sorted({PACKAGE / path.relative_to(PACKAGE).parts[0] for path in modules() if path.parent != PACKAGE})


@cache
def imports() -> Graph:
    """Return the modules of the package that each module imports, also inside functions, but not for type checking."""
    graph: Graph = {}
    for path, tree in modules().items():
        found = {target for node in runtime_imports(tree) for target in targets(node, path)}
        graph[path] = found - {path}
    return graph


def runtime_imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports below `node`, except those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for branch in child.orelse:
                yield from runtime_imports(branch)
        else:
            yield from runtime_imports(child)


def targets(node: ast.Import | ast.ImportFrom, path: Path) -> Iterator[Path]:
    """Yield the modules that an import names; for `from package import name`, the module `name` if it exists."""
    if isinstance(node, ast.Import):
        names = [(alias.name, None) for alias in node.names]
    else:
        above = path.parents[node.level - 1].relative_to(PACKAGE.parent).parts if node.level else ()
        source = ".".join([*above, *([node.module] if node.module else [])])
        names = [(source, alias.name) for alias in node.names]
    for source, name in names:
        place = PACKAGE.parent.joinpath(*source.split("."))
        inside = [place / f"{name}.py", place / name / "__init__.py"] if name else []
        for candidate in [*inside, place.with_suffix(".py"), place / "__init__.py"]:
            if candidate in modules():
                yield candidate
                break


def import_cycles(graph: Graph) -> list[list[Path]]:
    """Return the groups of modules that import each other (Tarjan's strongly connected components)."""
    found: list[list[Path]] = []
    number: dict[Path, int] = {}
    lowest: dict[Path, int] = {}
    stack: list[Path] = []

    def visit(path: Path) -> None:
        number[path] = lowest[path] = len(number)
        stack.append(path)
        for target in sorted(graph[path]):
            if target not in number:
                visit(target)
                lowest[path] = min(lowest[path], lowest[target])
            elif target in stack:
                lowest[path] = min(lowest[path], number[target])
        if lowest[path] == number[path]:
            place = stack.index(path)
            group = stack[place:]
            del stack[place:]
            if len(group) > 1:
                found.append(sorted(group))

    for path in graph:
        if path not in number:
            visit(path)
    return found


def import_depth(graph: Graph, package: Path) -> int:
    """Return the length of the longest chain of modules in a package, each importing the next."""
    inside = {path for path in graph if package in path.parents}

    def height(path: Path, above: tuple[Path, ...] = ()) -> int:
        if path not in heights:
            below = [height(target, (*above, path)) for target in graph[path] & inside if target not in above]
            heights[path] = 1 + max(below, default=0)
        return heights[path]

    heights: dict[Path, int] = {}
    return max(height(path) for path in inside)


def lines() -> Counter[str]:
    """Return the number of lines by kind; a line with code and a comment counts as code."""
    counts: Counter[str] = Counter({"of code": 0, "of docstrings": 0, "of comments": 0, "blank": 0})
    for path, tree in modules().items():
        text = path.read_text(encoding="utf-8")
        kinds = dict.fromkeys(range(1, len(text.splitlines()) + 1), "blank")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                kinds[token.start[0]] = "of comments" if token.line.lstrip().startswith("#") else "of code"
            elif token.string.strip() and token.type != tokenize.ENDMARKER:
                kinds.update(dict.fromkeys(range(token.start[0], token.end[0] + 1), "of code"))
        for node in ast.walk(tree):  # a string expression in a class or module is documentation
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                kinds.update(dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), "of docstrings"))
        counts.update(kinds.values())
    return counts


def functions() -> Iterator[tuple[Path, FunctionNode]]:
    """Yield every function of the package with its file."""
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def long_functions() -> list[tuple[str, int]]:
    """Return the functions with more than LONGEST_FUNCTION lines, the longest first."""
    sizes = [(f"{relative(path)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1) for path, node in functions()]
    return sorted([item for item in sizes if item[1] > LONGEST_FUNCTION], key=lambda item: -item[1])


def long_signatures() -> list[tuple[str, int]]:
    """Return the functions with more than MOST_PARAMETERS parameters, except verbs, the longest first."""
    found = []
    for path, node in functions():
        names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([name for name in names if name.arg not in ("self", "cls")])
        if count > MOST_PARAMETERS and PACKAGE / "cli" not in path.parents:
            found.append((f"{relative(path)}:{node.name}", count))
    return sorted(found, key=lambda item: -item[1])


def vocabulary() -> list[str]:
    """Return the private words of CONTRIBUTING.md: the words in backquotes in the second column of its vocabulary."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Vocabulary\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\|[^|]*\|([^|]*)\|", section, re.MULTILINE)
    return [word for cell in rows for word in re.findall(r"`([^`]+)`", cell)]


def private_words() -> Counter[str]:
    """Return how often each private word occurs in src and docs, also inside identifiers."""
    texts = [*modules(), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in texts)
    counts = {word: len(re.findall(rf"(?<![A-Za-z]){re.escape(word)}(?![a-z])", text)) for word in vocabulary()}
    return Counter({word: count for word, count in counts.items() if count})


class Trace:
    """A recording of the package's files that calls enter, in order, each with the files that it is called from.

    `carrying` lists the files in which a function takes or returns values of the types named in `carried`.
    """

    def __init__(self, carried: frozenset[str] = frozenset()) -> None:
        self.callers: dict[str, set[str]] = {}
        self.carrying: set[str] = set()
        self._carried = carried

    def __enter__(self) -> "Trace":
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: Any, event: str, result: object) -> None:
        function = frame.f_code
        if function.co_name.startswith("<") or not function.co_filename.startswith(str(PACKAGE)):
            return
        if event == "return" and self._is_carried(result):
            self.carrying.add(function.co_filename)
        if event != "call" or not function.co_flags & inspect.CO_OPTIMIZED:  # a function, not a class body
            return
        if any(self._is_carried(value) for value in frame.f_locals.values()):
            self.carrying.add(function.co_filename)
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(str(PACKAGE)):
            caller = caller.f_back  # skip a library that calls back, such as torch
        source = caller.f_code.co_filename if caller is not None else "the start"
        if source != function.co_filename:
            self.callers.setdefault(function.co_filename, set()).add(source)

    def _is_carried(self, value: object) -> bool:
        first = value[0] if isinstance(value, list | tuple) and value else value
        return type(first).__name__ in self._carried


def print_trace(name: str, trace: Trace) -> None:
    """Print a trace's files in order of first entry."""
    reentered = [path for path, callers in trace.callers.items() if len(callers) > 1]
    print(f"the trace of {name}: {len(trace.callers)} files, {len(reentered)} of them entered from more than one file;")
    print(f"{len(trace.carrying)} take or return it (*)")
    for path, callers in trace.callers.items():
        mark = "*" if path in trace.carrying else " "
        print(f"  {mark} {relative(Path(path))}" + (f"  from {len(callers)} files" if len(callers) > 1 else ""))


def trace_clip() -> Trace:
    """Trace a dataset into a training batch: opened, split, encoded, stored, sampled."""
    from worldtune.latents.store import LatentStore
    from worldtune.models.load import open_world
    from worldtune.training.data.batches import Batches
    from worldtune.training.data.encode_datasets import prepare_data
    from worldtune.training.recipe import load_recipe

    short = ["replay=null", "validate.retention=null", f"data.tasks=['{PROMPT}']"]
    recipe, world = load_recipe(PACKAGE / "recipes" / "pocket-new-view.yaml", short), open_world("pocket")
    with tempfile.TemporaryDirectory() as folder, Trace(CLIP) as trace:
        data = prepare_data(world, recipe, LatentStore(Path(folder)))
        with Batches(data, recipe, None, range(recipe.train.batch)) as batches:
            batches.of(0)
    return trace


def trace_adapter() -> Trace:
    """Trace an adapter from its folder into a video by `worldtune generate`."""
    with tempfile.TemporaryDirectory() as folder:
        run, out = f"{folder}/run", f"{folder}/videos"
        short = "train.steps=1 train.warmup=1 train.preview_every=null validate.sigmas=1 validate.clips=2 replay=null"
        worldtune("train", "pocket-new-view", *short.split(), "--out", run)
        with Trace(ADAPTER) as trace:
            worldtune("generate", "--adapter", f"{run}/adapter", "--prompt", PROMPT, "--steps", "2", "--out", out)
    return trace


def worldtune(*arguments: str) -> None:
    """Run the command line in this process. Raise RuntimeError if it fails."""
    from worldtune.cli.main import run

    if run(list(arguments)):
        raise RuntimeError(f"worldtune {' '.join(arguments)} failed")


if __name__ == "__main__":
    main()
