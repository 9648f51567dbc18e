"""The first schema: events, a table for each kind of fact, and triggers that let none be changed or deleted."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, Text, UniqueConstraint

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
REFUSAL = "what is in the record is not changed"


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
        _protect(table)


def _column(text: str) -> Column[Any]:
    name, _, kind = text.rstrip("?").partition(":")
    return Column(name, {"int": BigInteger, "bool": Boolean, "": Text}[kind], nullable=text.endswith("?"))


def _protect(table: str) -> None:
    if op.get_context().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER keep_{table}_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
            )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION worldtune_keep() RETURNS trigger AS "
        f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$ LANGUAGE plpgsql"
    )
    op.execute(
        f"CREATE TRIGGER keep_{table} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION worldtune_keep()"
    )
