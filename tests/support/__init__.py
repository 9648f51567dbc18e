"""Helpers for the tests of several packages: a tiny base model, training data, diffusers' pipeline to compare with."""
