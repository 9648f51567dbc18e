"""The first schema: the events, and triggers that forbid changing or deleting them."""

from alembic import op
from sqlalchemy import Column, Integer, Text

from worldtune.registry.store.migrations.triggers import forbid_changes

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "event",
        Column("sequence", Integer, primary_key=True, autoincrement=False),
        Column("hash", Text, nullable=False),
        Column("envelope", Text, nullable=False),
    )
    forbid_changes("event")
