"""Signing keys and signed statements."""
