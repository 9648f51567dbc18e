"""Metrics of one generated clip against its reference."""
