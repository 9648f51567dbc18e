"""A registry with people, and adapters to add, for the registry benchmarks."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from securesystemslib.signer import CryptoSigner
from sqlalchemy import create_engine, text

from worldtune.adapters.card import AdapterCard, read_card, write_card
from worldtune.adapters.folder import save_adapter
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.models.load import open_world
from worldtune.registry.events.events import Role
from worldtune.registry.governance.admin import enroll, set_policy
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.registry import Registry, create_registry, open_registry
from worldtune.registry.signing.keys import generate_key, load_key, public_key_path

PEOPLE: dict[str, tuple[Role, ...]] = {"sam": ("submitter",), "eva": ("evaluator",), "bob": ("approver",)}
NAME = "cell7/front/pick"


@dataclass(frozen=True)
class Site:
    """A registry in `folder`, everybody's keys, and an adapter."""

    folder: Path
    adapter: Path

    def registry(self) -> Registry:
        return open_registry(self.folder)

    def key(self, person: str) -> CryptoSigner:
        return load_key(self.folder / "keys" / f"{person}.pem")

    def copy_adapter(self, name: str) -> Path:
        """Copy the adapter with the same weights and another card."""
        target = self.folder / "sources" / name
        shutil.copytree(self.adapter, target)
        write_card(target, read_card(target).model_copy(update={"name": name}))
        return target


def make_adapter(folder: Path) -> Path:
    """Make a small adapter of the pocket world with random weights."""
    world = open_world("pocket")
    spec = AdapterSpec(rank=4, targets="attention")
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in inject(world.denoiser, spec, seed=0).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    base = world.card
    card = AdapterCard(
        name="by chance", adapter=spec, base=base.name, base_digest=base.digest, schedule=str(base.schedule),
        conditional_sigma=base.schedule.conditional_sigma, modes={"image2world": 1.0}, frames=base.frames, fps=base.fps,
        height=base.height, width=base.width, fit="stretch", step=None, average=None, weights_digest="", lineage={},
        preflight=None,
    )  # fmt: skip
    save_adapter(folder, world.denoiser, card)
    return folder


def make_site(folder: Path, adapter: Path, database: str | None = None, ann: CryptoSigner | None = None) -> Site:
    """Create a registry by ann in which only production has requirements."""
    ann = ann or generate_key(folder / "keys" / "ann.pem")
    registry = create_registry(folder, "ann", ann, database)
    for person, roles in PEOPLE.items():
        path = folder / "keys" / f"{person}.pem"
        generate_key(path)
        enroll(registry, ann, person, public_key_path(path), roles, None)
    set_policy(
        registry, ann, Policy(channels={"production": ChannelRule(approvals=1, evidence=True), "*": ChannelRule()})
    )
    registry.engine.dispose()
    return Site(folder, adapter)


@contextmanager
def new_database(server: str, name: str) -> Iterator[str]:
    """Yield the URL of an empty database of a PostgreSQL server."""
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield f"{server}/{name}"
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


@contextmanager
def own_folders(place: Path) -> Iterator[None]:
    """Keep the registry's cache and seen heads below `place` meanwhile."""
    names = {"XDG_CACHE_HOME": place / "cache", "XDG_STATE_HOME": place / "state"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(path) for name, path in names.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
