"""Benchmarks of evaluation: time, synthetic corruptions and bad candidates."""
