"""Using a release: its files in a folder of this machine, verified, wherever a path to an adapter is asked for."""

from collections.abc import Callable
from pathlib import Path

from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.files import atomic_folder, cache_folder, locked
from worldtune.registry.manifest import FileEntry, Manifest, manifest_of
from worldtune.registry.names import is_reference
from worldtune.registry.registry import PLACE, Registry, default_folder, open_registry
from worldtune.registry.releases import Resolved, adapter_names, channels, resolve
from worldtune.registry.stated import check_stated
from worldtune.registry.used import Used

Warn = Callable[[str], None]


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
    release = f"{found.name} sha256:{found.digest}{move}{glass}"
    return Used(checkout(opened, found), release, found.release.fact.card)


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
    if folder.is_symlink():
        what = "the cache's folder of this release is a link"
        raise TamperError(what, where=str(folder), mend="Remove it, and see who put it there.")
    if _holds(folder, manifest):  # nothing need be written: the cache may be one that cannot be
        return folder
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
