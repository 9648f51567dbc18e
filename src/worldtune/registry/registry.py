"""A registry: where its record and its bytes are, and which key founded it.

`registry.json` in a folder of this machine says so. By default record and bytes are beside it, and nothing needs to
run; several machines share a registry whose record is in PostgreSQL and whose bytes are in an object store.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from sqlalchemy import URL, Connection, select

from worldtune.errors import RegistryError, TamperError
from worldtune.files import locked, make_folder, write_json
from worldtune.registry.database import engine_of, migrate, reading, schema_of
from worldtune.registry.facts import Founded, PolicySet
from worldtune.registry.keys import public_pem
from worldtune.registry.manifest import parse_json
from worldtune.registry.policy import DEFAULT, Policy
from worldtune.registry.record import MEND, Record, View, Writer
from worldtune.registry.statements import said, signed_by
from worldtune.registry.store import Store
from worldtune.registry.tables import EVENTS
from worldtune.strict import Strict, parse

PLACE = "registry.json"
SEEN = "seen.json"
REGISTRY = "WORLDTUNE_REGISTRY"


class Place(Strict):
    """What `registry.json` says; a path in it is from its own folder."""

    format: int = 1
    registry: str
    founder: str
    database: str = "sqlite:///record.db"
    store: str = "."


class Seen(Strict):
    """The newest event that this machine saw: a record without it is another, or was set back."""

    sequence: int
    hash: str


@dataclass(frozen=True)
class Registry:
    """An open registry."""

    folder: Path
    place: Place
    record: Record
    store: Store

    @contextmanager
    def view(self) -> Iterator[View]:
        """Read. Raises TamperError when the record lacks what this machine has seen in it."""
        seen = self._seen()  # before: what others write meanwhile is not in the view
        with self.record.view() as view:
            self._refuse_set_back(view, seen)
            yield view
            head = view.head()
        self._saw(head.sequence, head.hash)

    @contextmanager
    def writer(self, signer: CryptoSigner, *, clock_was_ahead: bool = False) -> Iterator[Writer]:
        """Write all of the block's facts, or none; `clock_was_ahead`: though the record's time has not come."""
        seen = self._seen()
        with self.record.writer(signer, clock_was_ahead=clock_was_ahead) as writer:
            self._refuse_set_back(writer, seen)
            yield writer
            head = writer.head()
        self._saw(head.sequence, head.hash)

    def _seen(self) -> Seen | None:
        path = self.folder / SEEN
        return parse(Seen, parse_json(path.read_bytes(), str(path)), str(path)) if path.is_file() else None

    def _refuse_set_back(self, view: View, seen: Seen | None) -> None:
        if seen is None:
            return
        found = view.connection.execute(select(EVENTS.c.hash).where(EVENTS.c.sequence == seen.sequence)).scalar()
        if found != seen.hash:
            what = f"the event {seen.sequence} that this machine saw is not in the record any more"
            raise TamperError(what, where=self.place.database, mend=MEND)

    def _saw(self, sequence: int, found: str) -> None:
        before = self._seen()
        if before is None or sequence > before.sequence:
            write_json(self.folder / SEEN, {"sequence": sequence, "hash": found})


def default_folder() -> Path:
    """The folder that WORLDTUNE_REGISTRY names, else `worldtune/registry` in $XDG_DATA_HOME (~/.local/share)."""
    named = os.environ.get(REGISTRY)
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(named) if named else Path(data) / "worldtune" / "registry"


def open_registry(folder: Path | None = None) -> Registry:
    """The registry of a folder. Raises RegistryError when there is none, or it cannot be used."""
    folder = folder or default_folder()
    path = folder / PLACE
    if not path.is_file():
        mend = "Make one by `worldtune registry init`, or name yours by --registry or WORLDTUNE_REGISTRY."
        raise RegistryError("there is no registry here", where=str(folder), mend=mend)
    return _opened(folder, parse(Place, parse_json(path.read_bytes(), str(path)), str(path)))


def found_registry(
    folder: Path, person: str, signer: CryptoSigner, database: str | None = None, store: str | None = None
) -> Registry:
    """Make a registry, whose first administrator is `person`, with the default policy.

    Raises RegistryError when there is one already, in the folder or in the database.
    """
    place = _place(str(uuid.uuid4()), signer.public_key.keyid, database, store)
    with locked(folder):
        _refuse_second(folder)
        write_json(folder / PLACE, place.model_dump())  # first: were it cut off after, the record would have no place
        registry = _opened(folder, place)
        with registry.record.writer(signer) as writer:
            if writer.head().sequence:
                (folder / PLACE).unlink()
                mend = "Join it by `worldtune registry join`, or name another database."
                raise RegistryError("there is a registry in this database", where=place.database, mend=mend)
            writer.append(Founded(registry=place.registry, person=person, public=public_pem(signer.public_key)))
            writer.append(policy_fact(DEFAULT))
    return registry


def join_registry(folder: Path, founder: str, database: str, store: str) -> Registry:
    """Use a registry that another machine made; `founder` is (the beginning of) the key that it was founded by.

    Raises RegistryError when there is none in the database, TamperError when another key founded it.
    """
    with locked(folder):
        _refuse_second(folder)
        with reading(engine_of(_anchored(database, folder))) as connection:
            query = select(EVENTS.c.envelope).where(EVENTS.c.sequence == 1)
            first = connection.execute(query).scalar_one_or_none() if _has_events(connection) else None
        if first is None:
            raise RegistryError("there is no registry in this database", where=database, mend="Name another.")
        key = signed_by(first.encode(), "event 1")
        if len(founder) < 12 or not key.startswith(founder):
            what = f"it was founded by the key {key}, not by {founder}"
            raise TamperError(what, where=database, mend="Ask its administrator for the founder's key id.")
        place = _place(said(first.encode(), "event 1")["predicate"]["registry"], key, database, store)
        registry = _opened(folder, place)
        with registry.record.view():
            write_json(folder / PLACE, place.model_dump())
    return registry


def policy_fact(policy: Policy) -> PolicySet:
    return PolicySet(policy=policy.digest, content=policy.model_dump(mode="json"))


def _has_events(connection: Connection) -> bool:
    return schema_of(connection) is not None


def _place(registry: str, founder: str, database: str | None, store: str | None) -> Place:
    given = {name: value for name, value in (("database", database), ("store", store)) if value is not None}
    return Place(registry=registry, founder=founder, **given)


def _refuse_second(folder: Path) -> None:
    path = folder / PLACE
    if not path.exists():
        return
    place = parse(Place, parse_json(path.read_bytes(), str(path)), str(path))
    with reading(engine_of(_anchored(place.database, folder))) as connection:
        begun = _has_events(connection) and connection.execute(select(EVENTS.c.sequence)).first() is not None
    if begun:
        raise RegistryError("there is a registry here already", where=str(folder), mend="Use it, or choose another.")


def _opened(folder: Path, place: Place) -> Registry:
    make_folder(folder)
    engine = engine_of(_anchored(place.database, folder))
    migrate(engine, folder)
    store = place.store if "://" in place.store else str((folder / place.store).absolute())
    return Registry(folder, place, Record(engine, place.founder, place.registry), Store(store))


def _anchored(database: str, folder: Path) -> str:
    """A relative file of SQLite is meant from the registry's folder."""
    kind, _, file = database.partition(":///")
    return (
        str(URL.create("sqlite", database=str((folder / file).absolute()))) if kind == "sqlite" and file else database
    )
