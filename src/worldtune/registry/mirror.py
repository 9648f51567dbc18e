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
from worldtune.registry.facts import Released, Revoked
from worldtune.registry.labels import Adapter, adapters
from worldtune.registry.record import View
from worldtune.registry.registry import Registry

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
    with registry.view() as view, _asked(uri):
        for adapter in adapters(view):
            found += _reconcile(client, view, registry.place.registry, adapter, mend)
    return found


def model_name(adapter: str) -> str:
    """MLflow's names have no '/' and no ':'."""
    return re.sub(r"[/:]", ".", f"worldtune.{adapter}")


def _reconcile(client: Any, view: View, registry: str, adapter: Adapter, mend: bool) -> Iterator[Drift]:
    from mlflow.exceptions import MlflowException

    name = model_name(adapter.name)
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        if mend:
            client.create_registered_model(name, {f"{TAG}registry": registry, f"{TAG}adapter": adapter.name})
        yield Drift("the model is missing", name, mend)
        if not mend:
            return
    versions = {each.tags.get(f"{TAG}release"): each for each in client.search_model_versions(f"name='{name}'")}
    revoked = {row.digest for row in view.rows(Revoked)}
    for row in view.rows(Released, adapter=adapter.name):
        wanted = _tags(row, revoked)
        version = versions.pop(str(row.number), None)
        if version is None:
            if mend:
                versions_made = client.create_model_version(name, f"worldtune:{row.digest}", tags=wanted)
                version = versions_made
            yield Drift(f"release {row.number} is missing", name, mend)
        for key, value in wanted.items() if version is not None else ():
            if version.tags.get(key, value if mend and version.tags == {} else None) != value:
                if mend:
                    client.set_model_version_tag(name, version.version, key, value)
                yield Drift(f"release {row.number}: {key} is {version.tags.get(key)!r}, not {value!r}", name, mend)
    for number, version in versions.items():
        yield Drift(f"version {version.version} (release {number}) is not of the record", name, False)
    yield from _aliases(client, name, adapter, mend)


def _aliases(client: Any, name: str, adapter: Adapter, mend: bool) -> Iterator[Drift]:
    """Channels as aliases. MLflow gives them with one model, and not with a search (mlflow/mlflow#16734)."""
    shown = dict(client.get_registered_model(name).aliases)
    released = {each.version: each.tags.get(f"{TAG}release") for each in client.search_model_versions(f"name='{name}'")}
    by_number = {release: version for version, release in released.items()}
    for channel, number in adapter.channels.items():
        alias = _alias(channel)
        if released.get(str(shown.pop(alias, None))) != str(number):
            if mend:
                client.set_registered_model_alias(name, alias, by_number[str(number)])
            yield Drift(f"@{channel} is not release {number}", name, mend)
    for alias in shown:
        if mend:
            client.delete_registered_model_alias(name, alias)
        yield Drift(f"the alias {alias} is no channel", name, mend)


def _alias(channel: str) -> str:
    """MLflow keeps `latest` and `v12` for itself."""
    return f"channel-{channel}" if channel == "latest" or re.fullmatch(r"v\d+", channel) else channel


def _tags(row: Any, revoked: set[str]) -> dict[str, str]:
    return {
        f"{TAG}release": str(row.number),
        f"{TAG}digest": row.digest,
        f"{TAG}base": row.base,
        f"{TAG}author": row.author,
        f"{TAG}revoked": "yes" if row.digest in revoked else "no",
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
