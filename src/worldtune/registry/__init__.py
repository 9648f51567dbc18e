"""The adapter registry: which adapter is live, its lineage, its evidence and approvals, and rollback."""
