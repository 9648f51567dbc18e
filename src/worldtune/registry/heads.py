"""Signed heads: what the chain's end was, to be kept elsewhere. Whoever owns the database can rebuild a chain, and not
what a head outside of it says.
"""

from pathlib import Path

from securesystemslib.signer import CryptoSigner
from sqlalchemy import select

from worldtune.errors import TamperError
from worldtune.files import atomic_file
from worldtune.registry.record import MEND, Head
from worldtune.registry.registry import Registry
from worldtune.registry.statements import opened, sign, signed_by, statement
from worldtune.registry.tables import EVENTS

KIND = "urn:worldtune:registry:head:1"


def write_head(registry: Registry, signer: CryptoSigner, path: Path) -> Head:
    """Sign the newest event's place and hash. Raises RegistryError for a key that nobody enrolled."""
    with registry.view() as view:
        holder, head = view.people.holder(signer.public_key.keyid, "key"), view.head()
    predicate = {
        "registry": registry.place.registry, "sequence": head.sequence, "hash": head.hash, "at": head.at,
        "actor": holder.person,
    }  # fmt: skip
    with atomic_file(path) as partial:
        partial.write_bytes(sign(statement({"head": head.hash}, KIND, predicate), signer))
    return head


def check_head(registry: Registry, path: Path) -> Head:
    """The head that a file says. Raises TamperError when the record does not hold it, or nobody known signed it."""
    envelope, where = path.read_bytes(), str(path)
    with registry.view() as view:
        holder = view.people.holder(signed_by(envelope, where), where)
        if holder.stolen:
            raise TamperError("it was signed by a stolen key", where=where, mend="Compare with another.")
        content = opened(envelope, holder.key, where)
        said = content["predicate"]
        if content.get("predicateType") != KIND or said.get("registry") != registry.place.registry:
            raise TamperError("it is no head of this registry", where=where, mend="Name the file of this one.")
        query = select(EVENTS.c.hash).where(EVENTS.c.sequence == said["sequence"])
        if view.connection.execute(query).scalar() != said["hash"]:
            what = f"the event {said['sequence']} is not what {holder.person} signed on {said['at']}"
            raise TamperError(what, where=registry.place.database, mend=MEND)
    return Head(said["sequence"], said["hash"], said["at"])
