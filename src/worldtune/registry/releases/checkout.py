"""Check out a release: its verified files in a local folder, wherever a command takes an adapter's path."""

from collections.abc import Callable
from pathlib import Path

from worldtune.adapters.used import Used
from worldtune.core.files import atomic_folder, cache_folder, lock_folder
from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.registry.log.resolve import ResolvedRelease, adapter_names, channels, resolve
from worldtune.registry.names import is_reference
from worldtune.registry.registry import CONFIG_FILE, Registry, default_folder, open_registry
from worldtune.registry.releases.verify_release import check_release_files
from worldtune.registry.store.manifest import FileEntry, Manifest, build_manifest

Warn = Callable[[str], None]


def resolve_adapter(text: str, warn: Warn, registry: Path | None = None) -> Used:
    """Return the adapter at a path, or of a reference such as `cell7/front/pick@production`.

    An existing path takes precedence. `warn` receives warnings for the user. Raise RegistryError for a release that may
    not be used, TamperError if its bytes were changed.
    """
    path = Path(text).expanduser()
    if path.exists():
        return Used(path)
    if not is_reference(text):
        _check_not_bare_name(text, registry)
        return Used(path)
    loaded = open_registry(registry)
    with loaded.view() as state:
        found = resolve(state, text)
    for warning in found.warnings:
        warn(warning)
    move = f", @{found.move.event.fact.channel} generation {found.move.event.fact.generation}" if found.move else ""
    break_glass = f" (BREAK-GLASS until {found.move.event.fact.expires})" if found.warnings and found.move else ""
    release = f"{found.name} sha256:{found.digest}{move}{break_glass}"
    return Used(checkout(loaded, found), release, found.release.fact.card)


def _check_not_bare_name(text: str, registry: Path | None) -> None:
    """Raise RegistryError if `text` is an adapter name without a version."""
    folder = registry or default_folder()
    if not (folder / CONFIG_FILE).is_file():
        return
    with open_registry(folder).view() as state:
        if text in adapter_names(state):
            references = [f"{text}@{channel}" for channel in channels(state, text)]
            hint = f"Use {' or '.join(references) or f'{text}@1'}; see `worldtune registry show {text}`."
            raise RegistryError("no version given", where=text, hint=hint)


def checkout(registry: Registry, found: ResolvedRelease) -> Path:
    """Return the folder of the release's files in the user's cache, verified; rewrite it if it does not match.

    Raise TamperError if the store's files do not match the release's statement.
    """
    manifest = check_release_files(registry.store, found.release.fact)
    folder = cache_folder() / "releases" / found.digest
    if folder.is_symlink():
        what = "the cache folder of this release is a link"
        raise TamperError(what, where=str(folder), hint="Remove the link, and find out who created it.")
    if _matches_manifest(folder, manifest):  # without writing, so that a read-only cache works
        return folder
    with lock_folder(folder.parent / f".{found.digest}", wait=True):
        if not _matches_manifest(folder, manifest):
            with atomic_folder(folder) as partial:
                write_files(registry, manifest.files, partial)
    return folder


def write_files(registry: Registry, files: tuple[FileEntry, ...], folder: Path) -> None:
    """Write files of the store into a folder, read-only."""
    for entry in files:
        registry.store.copy_to(entry, folder / entry.name)
        (folder / entry.name).chmod(0o444)


def _matches_manifest(folder: Path, manifest: Manifest) -> bool:
    if not folder.is_dir():
        return False
    try:
        return build_manifest(folder) == manifest
    except UserError:
        return False
