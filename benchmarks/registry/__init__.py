"""Benchmarks of the registry: load, kills, attacks."""
