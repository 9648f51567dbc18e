"""A registry of people with roles, on SQLite and on PostgreSQL, and adapters to put into it."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import create_engine, insert, select, text

from support.adapters import edit_card
from worldtune.bench.postgres import binaries, serving
from worldtune.files import write_json
from worldtune.registry.enrolment import enrol
from worldtune.registry.facts import Role
from worldtune.registry.keys import load_key, make_key, public_path
from worldtune.registry.log.schema import EVENTS
from worldtune.registry.registry import PLACE, Registry, found_registry, open_registry

ROLES: dict[str, tuple[Role, ...]] = {
    "sam": ("submitter",), "eva": ("evaluator",), "bob": ("approver",), "bea": ("approver", "evaluator"),
}  # fmt: skip
NAME = "cell7/front/pick"


@dataclass
class Team:
    """A registry, everybody's key, and a source of adapters no two of which are alike."""

    registry: Registry
    keys: dict[str, CryptoSigner]
    folder: Path
    adapter: Path
    made: int = 0

    def __getitem__(self, person: str) -> CryptoSigner:
        return self.keys[person]

    def another(self, **changed: object) -> Path:
        """A new adapter's folder: the same weights, another card."""
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
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with serving() as url:
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
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And own seen heads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`founded(name)`: the folder of a registry of ann and the others, each name another. Copy it."""

    @cache
    def found(name: str) -> Path:
        folder = tmp_path_factory.mktemp("founded") / name
        ann = make_key(folder / "keys" / "ann.pem")
        registry = found_registry(folder, "ann", ann)
        for person, roles in ROLES.items():
            path = folder / "keys" / f"{person}.pem"
            make_key(path, "ecdsa-p256" if person == "bob" else "ed25519")
            enrol(registry, ann, person, public_path(path), roles, "365d")
        registry.engine.dispose()
        return folder

    return found


@pytest.fixture
def make_team(tmp_path: Path, adapter: Path, founded: Callable[[str], Path]) -> Callable[..., Team]:
    def make(database: str | None = None, folder: str = "registry") -> Team:
        target = tmp_path / folder
        shutil.copytree(founded(folder), target)
        registry = open_registry(target)
        if database is not None and database != str(registry.engine.url):
            rows = _rows(registry)
            registry.engine.dispose()
            write_json(target / PLACE, registry.place.model_copy(update={"database": database}).model_dump())
            registry = open_registry(target)
            with registry.engine.begin() as connection:
                connection.execute(insert(EVENTS), rows)
        keys = {person: load_key(target / "keys" / f"{person}.pem") for person in ("ann", *ROLES)}
        return Team(registry, keys, tmp_path, adapter)

    return make


def _rows(registry: Registry) -> list[dict[str, Any]]:
    with registry.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(EVENTS)).mappings()]


@pytest.fixture
def team(database: str, make_team: Callable[..., Team]) -> Iterator[Team]:
    """On each database."""
    made = make_team(database)
    yield made
    made.registry.engine.dispose()


@pytest.fixture
def local(make_team: Callable[..., Team]) -> Team:
    """As a user has it without options: SQLite and a folder."""
    return make_team()


@pytest.fixture
def away(make_team: Callable[..., Team], local: Team) -> Team:
    """Another site, that knows the people of the first."""
    site = make_team(folder="away")
    for person, roles in ROLES.items():
        public = public_path(local.registry.folder / "keys" / f"{person}.pem")
        enrol(site.registry, site["ann"], person, public, roles, None)
    return site
