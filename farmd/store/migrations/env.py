"""Alembic's way in: brings the connection it is given to the newest schema.

Run by `farmd.store.database.migrate`, which opens and ends the transaction.
"""

from __future__ import annotations

from alembic import context

from farmd.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
