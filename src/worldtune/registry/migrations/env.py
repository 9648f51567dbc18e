"""What Alembic runs: migrations on the connection, and in the transaction, that `database.migrate` opened."""

from alembic import context

from worldtune.registry.log.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
