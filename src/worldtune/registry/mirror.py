"""A mirror in MLflow, for the pages that teams look at: one way, and never read back as a truth.

Releases become versions of a registered model, channels become aliases. MLflow lets anybody change tags, move aliases
and reuse numbers (mlflow/mlflow#2169, #24742): what it shows is compared with the record, and said where it differs.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from worldtune.errors import RegistryError, first_line
from worldtune.registry.facts import Released
from worldtune.registry.labels import Adapter, adapters
from worldtune.registry.log.state import State
from worldtune.registry.registry import Registry
from worldtune.registry.releases import releases_of, revocation

TAG = "worldtune."


@dataclass(frozen=True)
class Drift:
    """Something that MLflow shows otherwise than the record."""

    what: str
    where: str
    mended: bool


def reconcile(registry: Registry, uri: str, *, mend: bool = True) -> list[Drift]:
    """Compare MLflow with the record, and (if `mend`) make it show the same.

    Raises RegistryError when mlflow-skinny is not installed, or the server does not answer.
    """
    client = _client(uri)
    found: list[Drift] = []
    with registry.view() as state, _asked(uri):
        for adapter in adapters(state):
            found += _reconcile(client, state, registry.place.registry, adapter, mend)
    return found


def model_name(adapter: str) -> str:
    """MLflow's names have no '/' and no ':'."""
    return f"worldtune.{adapter.replace('_', '__').replace('/', '_.')}"


def _reconcile(client: Any, state: State, registry: str, adapter: Adapter, mend: bool) -> Iterator[Drift]:
    name = model_name(adapter.name)
    if not _has_model(client, name):
        yield Drift("the model is missing", name, mend)
        if not mend:
            return
        client.create_registered_model(name, {f"{TAG}registry": registry, f"{TAG}adapter": adapter.name})
    wanted = {str(event.fact.number): _tags(state, event.fact) for event in releases_of(state, adapter.name)}
    shown = _versions(client, name)
    for number, tags in wanted.items():
        if number not in shown:
            yield Drift(f"release {number} is missing", name, mend)
            if mend:
                client.create_model_version(name, f"worldtune://sha256/{tags[f'{TAG}digest']}", tags=tags)
            continue
        for key, value in tags.items():
            if (found := shown[number].tags.get(key)) != value:
                yield Drift(f"release {number}: {key} is {found!r}, not {value!r}", name, mend)
                if mend:
                    client.set_model_version_tag(name, shown[number].version, key, value)
    for number in sorted(shown.keys() - wanted.keys()):
        yield Drift(f"version {shown[number].version} ({number}) is of no release", name, False)
    yield from _aliases(client, name, adapter, mend)


def _has_model(client: Any, name: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _versions(client: Any, name: str) -> dict[str, Any]:
    """Versions by the release that they say they are; of two that say the same, one is of no release."""
    found: dict[str, Any] = {}
    for each in sorted(client.search_model_versions(f"name='{name}'"), key=lambda its: int(its.version)):
        release = each.tags.get(f"{TAG}release", "no release told")
        found[release if release not in found else f"{release} again, version {each.version}"] = each
    return found


def _aliases(client: Any, name: str, adapter: Adapter, mend: bool) -> Iterator[Drift]:
    """Channels as aliases. MLflow gives them with one model, and not with a search (mlflow/mlflow#16734)."""
    shown = {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    versions = {number: str(each.version) for number, each in _versions(client, name).items()}
    for channel, number in adapter.channels.items():
        found = shown.pop(alias := _alias(channel), None)
        if found is None or found != versions.get(str(number)):
            yield Drift(f"@{channel} is not release {number}", name, mend)
            if mend:
                client.set_registered_model_alias(name, alias, versions[str(number)])
    for alias in shown:
        yield Drift(f"the alias {alias} is no channel", name, mend)
        if mend:
            client.delete_registered_model_alias(name, alias)


def _alias(channel: str) -> str:
    """MLflow keeps `latest` and `v12` for itself."""
    return f"channel-{channel}" if channel == "latest" or re.fullmatch(r"v\d+", channel) else channel


def _tags(state: State, release: Released) -> dict[str, str]:
    return {
        f"{TAG}release": str(release.number),
        f"{TAG}digest": release.digest,
        f"{TAG}base": release.base,
        f"{TAG}author": release.author,
        f"{TAG}revoked": "yes" if revocation(state, release) else "no",
    }


def _client(uri: str) -> Any:
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        mend = "pip install 'worldtune[track]'."
        raise RegistryError("mlflow is not installed", where=uri, mend=mend) from error
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _asked(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        mend = "Check its address; the record is as it was."
        raise RegistryError(f"MLflow does not answer: {first_line(error)}", where=uri, mend=mend) from error
