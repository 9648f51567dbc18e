"""The log in a database: one table of signed events. It carries them; what they say is decided by who reads them."""

from sqlalchemy import Column, Integer, MetaData, Table, Text

SCHEMA = "0001"
METADATA = MetaData()
EVENTS = Table(
    "event",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
    Column("envelope", Text, nullable=False),
)
