"""Fixtures: a registry of people with roles, on SQLite and on PostgreSQL, and adapters to add."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import create_engine, insert, select, text

from benchmarks.registry.postgres import find_binaries, run_server
from support.adapters import edit_card
from worldtune.core.files import write_json
from worldtune.registry.events.events import Role
from worldtune.registry.governance.admin import enroll
from worldtune.registry.registry import CONFIG_FILE, Registry, create_registry, open_registry
from worldtune.registry.signing.keys import generate_key, load_key, public_key_path
from worldtune.registry.store.schema import EVENTS

ROLES: dict[str, tuple[Role, ...]] = {
    "sam": ("submitter",), "eva": ("evaluator",), "bob": ("approver",), "bea": ("approver", "evaluator"),
}  # fmt: skip
NAME = "cell7/front/pick"


@dataclass
class Team:
    """A registry, everybody's key, and a source of distinct adapters."""

    registry: Registry
    keys: dict[str, CryptoSigner]
    folder: Path
    adapter: Path
    made: int = 0

    def __getitem__(self, person: str) -> CryptoSigner:
        return self.keys[person]

    def another(self, **changed: object) -> Path:
        """Return the folder of a new adapter with the same weights and another card."""
        self.made += 1
        target = self.folder / f"adapter-{self.made}"
        shutil.copytree(self.adapter, target)
        edit_card(target, **{"name": f"adapter {self.made}"} | changed)
        return target


@pytest.fixture
def adapter(tiny_adapter: Path) -> Path:
    """The folder of an adapter. Do not write into it."""
    return tiny_adapter


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server on loopback."""
    if find_binaries() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with run_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/log.db"
        return
    server = request.getfixturevalue("postgres")
    name = f"test{abs(hash(str(tmp_path)))}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{server}/{name}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(autouse=True)
def isolated_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own cache and seen heads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def registry_template(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function: `registry_template(name)` is the folder of a registry with ann and the others. Copy it."""

    @cache
    def found(name: str) -> Path:
        folder = tmp_path_factory.mktemp("founded") / name
        ann = generate_key(folder / "keys" / "ann.pem")
        registry = create_registry(folder, "ann", ann)
        for person, roles in ROLES.items():
            path = folder / "keys" / f"{person}.pem"
            generate_key(path, "ecdsa-p256" if person == "bob" else "ed25519")
            enroll(registry, ann, person, public_key_path(path), roles, "365d")
        registry.engine.dispose()
        return folder

    return found


@pytest.fixture
def make_team(tmp_path: Path, adapter: Path, registry_template: Callable[[str], Path]) -> Callable[..., Team]:
    def make(database: str | None = None, folder: str = "registry") -> Team:
        target = tmp_path / folder
        shutil.copytree(registry_template(folder), target)
        registry = open_registry(target)
        if database is not None and database != str(registry.engine.url):
            rows = _read_rows(registry)
            registry.engine.dispose()
            write_json(target / CONFIG_FILE, registry.config.model_copy(update={"database": database}).model_dump())
            registry = open_registry(target)
            with registry.engine.begin() as connection:
                connection.execute(insert(EVENTS), rows)
        keys = {person: load_key(target / "keys" / f"{person}.pem") for person in ("ann", *ROLES)}
        return Team(registry, keys, tmp_path, adapter)

    return make


def _read_rows(registry: Registry) -> list[dict[str, Any]]:
    with registry.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(EVENTS)).mappings()]


@pytest.fixture
def team(database: str, make_team: Callable[..., Team]) -> Iterator[Team]:
    """A team on each database."""
    made = make_team(database)
    yield made
    made.registry.engine.dispose()


@pytest.fixture
def local(make_team: Callable[..., Team]) -> Team:
    """A team with the default options: SQLite and a folder."""
    return make_team()


@pytest.fixture
def away(make_team: Callable[..., Team], local: Team) -> Team:
    """Another site, where the people of the first are enrolled."""
    site = make_team(folder="away")
    for person, roles in ROLES.items():
        public = public_key_path(local.registry.folder / "keys" / f"{person}.pem")
        enroll(site.registry, site["ann"], person, public, roles, None)
    return site
