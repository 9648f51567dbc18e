"""The first schema: events, a table for each kind of fact, and triggers that let none be changed or deleted."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, Text, UniqueConstraint

from worldtune.registry.migrations.triggers import protect

revision = "0001"
down_revision = None

# Columns: NAME is text, NAME:int and NAME:bool are not; a ? may be absent.
FACTS = {
    "founded": "registry person public roles",
    "enrolled": "person public roles expires?",
    "retired": "person key stolen:bool reason",
    "policy_set": "policy content",
    "expected": "scope what digest reason",
    "released": "adapter number:int digest author weights card base base_name size:int provenance calibration? parent? "
    "labels origin? statement?",
    "labelled": "adapter labels",
    "evaluated": "adapter number:int digest person base suite gates results candidate outcome expires statement?",
    "approved": "adapter number:int digest person channel policy reason expires statement?",
    "withdrawn": "adapter number:int digest channel reason",
    "moved": "adapter number:int digest channel generation:int how reason? policy evidence approvals expires?",
    "revoked": "adapter number:int digest reason",
    "derived": "what name digest sources",
    "published": "adapter number:int digest where revision",
}
UNIQUE = {"released": ["adapter", "number"], "moved": ["adapter", "channel", "generation"]}
SOUGHT = {
    "released": "digest", "labelled": "adapter", "evaluated": "digest", "approved": "digest", "withdrawn": "digest",
    "moved": "digest", "revoked": "digest", "derived": "digest", "published": "digest",
}  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "event",
        Column("sequence", Integer, primary_key=True, autoincrement=False),
        *(Column(name, Text, nullable=False) for name in ("at", "actor", "kind", "hash", "envelope")),
        UniqueConstraint("hash", name="uq_event_hash"),
    )
    op.create_index("ix_event_kind", "event", ["kind"])
    for table, columns in FACTS.items():
        unique = UNIQUE.get(table)
        op.create_table(
            table,
            Column("sequence", Integer, ForeignKey("event.sequence"), primary_key=True, autoincrement=False),
            *(_column(each) for each in columns.split()),
            *([UniqueConstraint(*unique, name=f"uq_{table}_{'_'.join(unique)}")] if unique else []),
        )
        if table in SOUGHT:
            op.create_index(f"ix_{table}_{SOUGHT[table]}", table, [SOUGHT[table]])
    for table in ("event", *FACTS):
        protect(table)


def _column(text: str) -> Column[Any]:
    name, _, kind = text.rstrip("?").partition(":")
    return Column(name, {"int": BigInteger, "bool": Boolean, "": Text}[kind], nullable=text.endswith("?"))
