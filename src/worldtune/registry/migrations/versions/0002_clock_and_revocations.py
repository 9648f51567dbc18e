"""Corrections of the clock, and revocations that came from another registry."""

from alembic import op
from sqlalchemy import Column, ForeignKey, Integer, Text

from worldtune.registry.migrations.triggers import protect

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "clock_set",
        Column("sequence", Integer, ForeignKey("event.sequence"), primary_key=True, autoincrement=False),
        Column("ahead", Text, nullable=False),
        Column("reason", Text, nullable=False),
    )
    protect("clock_set")
    op.add_column("revoked", Column("statement", Text))
