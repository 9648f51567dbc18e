"""The record as tables: the events, which are the record, and one table for each kind of fact, which is its index.

Every row of an index stands in the event of the same sequence number, signed; `registry verify` compares them.
"""

import json
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint

from worldtune.registry.facts import FACTS, Fact

SCHEMA = "0002"
METADATA = MetaData(naming_convention={"uq": "uq_%(table_name)s_%(column_0_N_name)s", "ix": "ix_%(column_0_N_label)s"})

EVENTS = Table(
    "event",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False, index=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("envelope", Text, nullable=False),
)
UNIQUE = {"released": ("adapter", "number"), "moved": ("adapter", "channel", "generation")}
SOUGHT = {
    "released": "digest", "labelled": "adapter", "evaluated": "digest", "approved": "digest", "withdrawn": "digest",
    "moved": "digest", "revoked": "digest", "derived": "digest", "published": "digest",
}  # fmt: skip


def _column(name: str, annotation: Any) -> Column[Any]:
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kinds = {int: BigInteger, bool: Boolean}
    kind = next((kinds[part] for part in parts if part in kinds), Text)
    return Column(name, kind, nullable=NoneType in parts)


def _table(fact: type[Fact]) -> Table:
    table = Table(
        fact.kind,
        METADATA,
        Column("sequence", Integer, ForeignKey("event.sequence"), primary_key=True, autoincrement=False),
        *(_column(name, field.annotation) for name, field in fact.model_fields.items()),
    )
    if fact.kind in UNIQUE:
        table.append_constraint(UniqueConstraint(*UNIQUE[fact.kind]))
    if fact.kind in SOUGHT:
        Index(None, table.c[SOUGHT[fact.kind]])
    return table


TABLES: dict[type[Fact], Table] = {fact: _table(fact) for fact in FACTS}


def row_of(fact: Fact, sequence: int) -> dict[str, Any]:
    """The row of a fact in the table of its kind: lists and mappings as JSON."""
    row: dict[str, Any] = {"sequence": sequence}
    for name, value in fact.model_dump(mode="json").items():
        row[name] = json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value
    return row
