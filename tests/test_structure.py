"""The structure limits of CONTRIBUTING.md, measured by docs/structure.py."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "structure.py"
MOST_FILES = 19
"""Modules in the fullest folder. Only lower this number; the goal is about 15."""


@pytest.fixture(scope="module")
def structure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("structure", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_no_import_cycles(structure: ModuleType) -> None:
    graph = structure.imports()
    assert [[structure.relative(path) for path in cycle] for cycle in structure.import_cycles(graph)] == []
    cli, errors = structure.PACKAGE / "cli", structure.PACKAGE / "errors.py"
    assert errors in graph[cli / "evaluate.py"]
    assert cli / "terminal" / "progress.py" in graph[cli / "generate.py"], "imported inside the function"


def test_fullest_folder_is_at_its_limit(structure: ModuleType) -> None:
    ((folder, count),) = structure.files_per_folder().most_common(1)
    assert count <= MOST_FILES, f"{folder} has too many modules: move some into a sub-package"
    assert count == MOST_FILES, f"lower MOST_FILES in tests/test_structure.py to {count}"


def test_cycles_and_depth_of_a_graph(structure: ModuleType) -> None:
    package = structure.PACKAGE / "p"
    a, b, c, d = (package / f"{name}.py" for name in "abcd")
    assert structure.import_cycles({a: {b}, b: {c}, c: {b}, d: set()}) == [[b, c]]
    assert structure.import_cycles({a: {b, d}, b: {c}, c: {d}, d: set()}) == []
    assert structure.import_depth({a: {b, d}, b: {c}, c: {d}, d: set()}, package) == 4
    assert structure.import_depth({a: {b}, b: set(), c: {structure.PACKAGE / "q.py"}, d: set()}, package) == 2


def test_private_words_are_counted_inside_identifiers(
    structure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"mend", "refuse_"} <= set(structure.vocabulary())
    source = tmp_path / "src" / "a.py"
    source.parent.mkdir()
    source.write_text('error(mend="Recommend it", the_mend=1, mended=2)\n')
    (tmp_path / "README.md").write_text("")
    monkeypatch.setattr(structure, "ROOT", tmp_path)
    monkeypatch.setattr(structure, "modules", lambda: {source: None})
    monkeypatch.setattr(structure, "vocabulary", lambda: ["mend", "films"])
    assert structure.private_words() == {"mend": 2}


def test_trace_records_files_in_order_of_first_call(structure: ModuleType, tmp_path: Path) -> None:
    from worldtune.core.files import digest_file, digest_json

    (tmp_path / "a").write_text("a")
    with structure.Trace() as trace:
        digest_file(tmp_path / "a")
        digest_json({"a": 1})
    assert {structure.relative(Path(path)): callers for path, callers in trace.callers.items()} == {
        "core/files.py": {"the start"},
        "core/canonical_json.py": {str(structure.PACKAGE / "core" / "files.py")},
    }
