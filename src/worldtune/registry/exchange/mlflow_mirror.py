"""A one-way mirror in MLflow for display. The registry never trusts what it reads there.

Releases become versions of a registered model, channels become aliases. In MLflow anyone can change tags, move aliases
and reuse numbers (mlflow/mlflow#2169, #24742), so the mirror is compared with the log and differences are reported.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from worldtune.errors import RegistryError, first_line
from worldtune.registry.events.events import ReleaseAdded
from worldtune.registry.log.resolve import find_revocation, list_releases
from worldtune.registry.log.state import State
from worldtune.registry.registry import Registry
from worldtune.registry.releases.listing import AdapterSummary, list_adapters

TAG_PREFIX = "worldtune."


@dataclass(frozen=True)
class Drift:
    """A difference between MLflow and the log."""

    what: str
    where: str
    fixed: bool


def reconcile(registry: Registry, uri: str, *, fix: bool = True) -> list[Drift]:
    """Compare MLflow with the log and, if `fix`, update MLflow. Return the differences.

    Raise RegistryError if mlflow-skinny is not installed or the server does not answer.
    """
    client = _open_client(uri)
    found: list[Drift] = []
    with registry.view() as state, _mlflow_errors(uri):
        for adapter in list_adapters(state):
            found += _reconcile(client, state, registry.config.registry, adapter, fix)
    return found


def model_name(adapter: str) -> str:
    """Return the model name in MLflow, where names cannot contain '/' or ':'."""
    return f"worldtune.{adapter.replace('_', '__').replace('/', '_.')}"


def _reconcile(client: Any, state: State, registry: str, adapter: AdapterSummary, fix: bool) -> Iterator[Drift]:
    name = model_name(adapter.name)
    if not _has_model(client, name):
        yield Drift("the model is missing", name, fix)
        if not fix:
            return
        client.create_registered_model(name, {f"{TAG_PREFIX}registry": registry, f"{TAG_PREFIX}adapter": adapter.name})
    wanted = {str(event.fact.number): _make_tags(state, event.fact) for event in list_releases(state, adapter.name)}
    shown = _find_versions(client, name)
    for number, tags in wanted.items():
        if number not in shown:
            yield Drift(f"release {number} is missing", name, fix)
            if fix:
                client.create_model_version(name, f"worldtune://sha256/{tags[f'{TAG_PREFIX}digest']}", tags=tags)
            continue
        for key, value in tags.items():
            if (found := shown[number].tags.get(key)) != value:
                yield Drift(f"release {number}: {key} is {found!r}, not {value!r}", name, fix)
                if fix:
                    client.set_model_version_tag(name, shown[number].version, key, value)
    for number in sorted(shown.keys() - wanted.keys()):
        yield Drift(f"version {shown[number].version} ({number}) belongs to no release", name, False)
    yield from _reconcile_aliases(client, name, adapter, fix)


def _has_model(client: Any, name: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _find_versions(client: Any, name: str) -> dict[str, Any]:
    """Return versions by the release number in their tags; a duplicate gets a key that no release has."""
    found: dict[str, Any] = {}
    for version in sorted(client.search_model_versions(f"name='{name}'"), key=lambda version: int(version.version)):
        release = version.tags.get(f"{TAG_PREFIX}release", "no release tag")
        found[release if release not in found else f"{release} again, version {version.version}"] = version
    return found


def _reconcile_aliases(client: Any, name: str, adapter: AdapterSummary, fix: bool) -> Iterator[Drift]:
    """Compare channels with aliases. Only MLflow's single-model query returns aliases (mlflow/mlflow#16734)."""
    shown = {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    versions = {number: str(version.version) for number, version in _find_versions(client, name).items()}
    for channel, number in adapter.channels.items():
        found = shown.pop(alias := _alias_of(channel), None)
        if found is None or found != versions.get(str(number)):
            yield Drift(f"@{channel} does not point to release {number}", name, fix)
            if fix:
                client.set_registered_model_alias(name, alias, versions[str(number)])
    for alias in shown:
        yield Drift(f"the alias {alias} is not a channel", name, fix)
        if fix:
            client.delete_registered_model_alias(name, alias)


def _alias_of(channel: str) -> str:
    """Return a channel's alias. MLflow reserves `latest` and names such as `v12`."""
    return f"channel-{channel}" if channel == "latest" or re.fullmatch(r"v\d+", channel) else channel


def _make_tags(state: State, release: ReleaseAdded) -> dict[str, str]:
    return {
        f"{TAG_PREFIX}release": str(release.number),
        f"{TAG_PREFIX}digest": release.digest,
        f"{TAG_PREFIX}base": release.base,
        f"{TAG_PREFIX}author": release.author,
        f"{TAG_PREFIX}revoked": "yes" if find_revocation(state, release) else "no",
    }


def _open_client(uri: str) -> Any:
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        hint = "Run pip install 'worldtune[track]'."
        raise RegistryError("mlflow is not installed", where=uri, hint=hint) from error
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _mlflow_errors(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        hint = "Check its address; the registry is unchanged."
        raise RegistryError(f"MLflow does not answer: {first_line(error)}", where=uri, hint=hint) from error
