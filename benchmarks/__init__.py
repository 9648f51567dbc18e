"""Benchmarks: each prints its results with their goals."""
