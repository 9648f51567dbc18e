"""Add releases, verify them, check them out, and show their lineage."""
