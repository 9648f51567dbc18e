"""Digest the code that makes a value, so that a cache never returns a value that other code made.

The code is every module of worldtune that the given modules import, directly or not, inside functions too. Imports
for type checkers are left out, and so is the package's own `__init__`, which only re-exports.
"""

import ast
from collections.abc import Iterator
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@cache
def code_digest(*modules: str) -> str:
    """Return the SHA-256 of the source files that `modules` reach, read once per process.

    Objects that are passed in are not imports: name the modules that make them too. Raise ValueError for a name that is
    not a module of worldtune.
    """
    return digest_reached(PACKAGE, modules)


def digest_reached(package: Path, modules: tuple[str, ...]) -> str:
    """Return the digest of the files in the folder `package` that `modules` reach. Raise as `code_digest` does."""
    sha = sha256()
    for name, path in sorted(reached(package, modules).items()):
        sha.update(f"{name} {sha256(path.read_bytes()).hexdigest()}\n".encode())
    return sha.hexdigest()


def reached(package: Path, modules: tuple[str, ...]) -> dict[str, Path]:
    """Return the files by module name, with `modules` and their parent packages. Raise as `code_digest` does."""
    for name in modules:
        if _file_of(package, name) is None:
            raise ValueError(f"{name} is not a module of {package.name}")
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = None if name in found else _file_of(package, name)
        if path is not None:
            found[name] = path
            parent = name.rpartition(".")[0]
            waiting += [parent, *_imported(path.read_bytes(), name if path.name == "__init__.py" else parent)]
    return found


def _file_of(package: Path, module: str) -> Path | None:
    """Return the module's source file, None if it is not a module below `package`."""
    first, *parts = module.split(".")
    if first != package.name or not parts:
        return None
    path = package.joinpath(*parts)
    files = [path / "__init__.py", path.with_name(f"{path.name}.py")]
    return next((file for file in files if file.is_file()), None)


@lru_cache(maxsize=4096)
def _imported(source: bytes, package: str) -> tuple[str, ...]:
    """Return every imported name that may be a module; relative imports start at `package`."""
    return tuple(_names(ast.parse(source), package.split(".")))


def _names(node: ast.AST, package: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) + 1 - node.level] if node.level else []
        origin = ".".join([*above, *([node.module] if node.module else [])])
        yield origin
        yield from (f"{origin}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for statement in node.orelse:
            yield from _names(statement, package)
    else:
        for part in ("body", "handlers", "cases", "orelse", "finalbody"):
            for statement in getattr(node, part, ()):
                yield from _names(statement, package)
