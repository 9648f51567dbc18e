"""Benchmarks of adapters of other tools."""
