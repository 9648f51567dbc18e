"""The database schema of the log: one table of signed events. Readers verify them; the database is not trusted."""

from sqlalchemy import Column, Integer, MetaData, Table, Text

SCHEMA_VERSION = "0001"
METADATA = MetaData()
EVENTS = Table(
    "event",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
    Column("envelope", Text, nullable=False),
)
