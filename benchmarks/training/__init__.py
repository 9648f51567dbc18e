"""Benches of training, against diffusers' example."""
