"""Using a release: its files in a folder of this machine, verified, wherever a path to an adapter is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worldtune.errors import RegistryError, UserError
from worldtune.files import atomic_folder, cache_folder, locked
from worldtune.registry.manifest import FileEntry, Manifest, manifest_of
from worldtune.registry.names import is_reference
from worldtune.registry.registry import PLACE, Registry, default_folder, open_registry
from worldtune.registry.releases import Resolved, adapter_names, channels, resolve
from worldtune.registry.stated import check_stated

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Used:
    """An adapter's folder; `release` is which release it is, for the record of what was made with it."""

    path: Path
    release: str | None = None


def use(text: str, warn: Warn, registry: Path | None = None) -> Used:
    """The adapter that a path names, or a reference as `cell7/front/pick@production`.

    What there is under the path is taken first. `warn` is told what a user must know. Raises RegistryError for a
    release that may not be used, TamperError when its bytes are others.
    """
    path = Path(text).expanduser()
    if path.exists():
        return Used(path)
    if not is_reference(text):
        _refuse_bare_name(text, registry)
        return Used(path)
    opened = open_registry(registry)
    with opened.view() as state:
        found = resolve(state, text)
    for warning in found.warnings:
        warn(warning)
    move = f", @{found.move.event.fact.channel} generation {found.move.event.fact.generation}" if found.move else ""
    glass = f" (BREAK-GLASS until {found.move.event.fact.expires})" if found.warnings and found.move else ""
    return Used(checkout(opened, found), f"{found.name} sha256:{found.digest}{move}{glass}")


def _refuse_bare_name(text: str, registry: Path | None) -> None:
    """Raises RegistryError for what is an adapter's name in the registry that there is, if there is one."""
    folder = registry or default_folder()
    if not (folder / PLACE).is_file():
        return
    with open_registry(folder).view() as state:
        if text in adapter_names(state):
            held = [f"{text}@{channel}" for channel in channels(state, text)]
            mend = f"As {' or '.join(held) or f'{text}@1'}; see `worldtune registry show {text}`."
            raise RegistryError("it is not said which release of it", where=text, mend=mend)


def checkout(registry: Registry, found: Resolved) -> Path:
    """The release's files in the user's cache, by its digest; verified every time, written anew when they are not.

    Raises TamperError when they are not what the release states.
    """
    manifest = check_stated(registry.store, found.release.fact)
    folder = cache_folder() / "releases" / found.digest
    with locked(folder.parent / f".{found.digest}", wait=True):
        if not _holds(folder, manifest):
            with atomic_folder(folder) as partial:
                write_files(registry, manifest.files, partial)
    return folder


def write_files(registry: Registry, files: tuple[FileEntry, ...], folder: Path) -> None:
    """Write files of the store into a folder, to be read and not written."""
    for entry in files:
        registry.store.copy_to(entry, folder / entry.name)
        (folder / entry.name).chmod(0o444)


def _holds(folder: Path, manifest: Manifest) -> bool:
    if not folder.is_dir():
        return False
    try:
        return manifest_of(folder) == manifest
    except UserError:
        return False
