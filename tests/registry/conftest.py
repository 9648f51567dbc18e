"""A registry of people with roles, on SQLite and on PostgreSQL, and adapters to put into it."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import create_engine, text

from support.adapters import edit_card
from worldtune.bench.postgres import binaries, serving
from worldtune.registry.enrolment import enrol
from worldtune.registry.facts import Role
from worldtune.registry.keys import make_key, public_path
from worldtune.registry.registry import Registry, found_registry

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


@pytest.fixture
def make_team(tmp_path: Path, adapter: Path) -> Callable[..., Team]:
    def make(database: str | None = None, folder: str = "registry") -> Team:
        keys = {"ann": make_key(tmp_path / folder / "keys" / "ann.pem")}
        registry = found_registry(tmp_path / folder, "ann", keys["ann"], database)
        for person, roles in ROLES.items():
            path = tmp_path / folder / "keys" / f"{person}.pem"
            keys[person] = make_key(path, "ecdsa-p256" if person == "bob" else "ed25519")
            enrol(registry, keys["ann"], person, public_path(path), roles, "365d")
        return Team(registry, keys, tmp_path, adapter)

    return make


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
