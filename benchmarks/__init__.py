"""Benches: each measures figures and prints them with their goals."""
