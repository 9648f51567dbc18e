"""Benchmarks of training, compared with diffusers' example."""
