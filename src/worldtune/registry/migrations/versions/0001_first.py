"""The first schema: the events, and triggers that let none be changed or deleted."""

from alembic import op
from sqlalchemy import Column, Integer, Text

from worldtune.registry.migrations.triggers import protect

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "event",
        Column("sequence", Integer, primary_key=True, autoincrement=False),
        Column("hash", Text, nullable=False),
        Column("envelope", Text, nullable=False),
    )
    protect("event")
