"""The Alembic environment: migrations run on the connection and in the transaction of `database.migrate`."""

from alembic import context

from worldtune.registry.store.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
