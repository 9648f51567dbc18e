"""Intervals of success rates."""
