"""Triggers that forbid changing or deleting rows of a table."""

from alembic import op

ERROR_MESSAGE = "rows of the event log cannot be changed or deleted"


def forbid_changes(table: str) -> None:
    """Create triggers with which the database rejects changes and deletions."""
    if op.get_context().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER forbid_{table}_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{ERROR_MESSAGE}'); END"
            )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION worldtune_forbid_change() RETURNS trigger AS "
        f"$$ BEGIN RAISE EXCEPTION '{ERROR_MESSAGE}'; END $$ LANGUAGE plpgsql"
    )
    op.execute(
        f"CREATE TRIGGER forbid_{table} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION worldtune_forbid_change()"
    )
