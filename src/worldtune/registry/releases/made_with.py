"""Find the releases that data was made with, by the digests that its `made_with.json` states."""

from pathlib import Path

from worldtune.data.made_with import MadeWithAdapter, read_made_with
from worldtune.errors import DataError, RegistryError
from worldtune.registry.log.state import State
from worldtune.registry.registry import Registry


def find_sources(registry: Registry, path: Path) -> tuple[str, ...]:
    """Return the digests of the releases whose adapters made the data in `path`.

    Raise RegistryError if the data does not say what it was made with, or an adapter is not a release.
    """
    try:
        made_with = read_made_with(path)
    except DataError as error:
        raise RegistryError(error.what, where=error.where, hint=error.hint) from error
    if not made_with.adapters:
        what = f"it was made with the base {made_with.base_name} alone, which is not a release"
        raise RegistryError(what, where=str(path), hint="Only data of adapters can be recorded.")
    with registry.view() as state:
        digests = [digest for adapter in made_with.adapters for digest in _releases_of(state, adapter, path)]
    return tuple(dict.fromkeys(digests))


def _releases_of(state: State, adapter: MadeWithAdapter, path: Path) -> list[str]:
    found = [event.fact.digest for event in state.releases.values() if event.fact.card == adapter.card]
    if not found:
        what = f"the adapter {adapter.name} ({adapter.card[:12]}), which made it, is not a release"
        hint = "Add it with `worldtune registry add`, or name the releases with --from."
        raise RegistryError(what, where=str(path), hint=hint)
    return found
