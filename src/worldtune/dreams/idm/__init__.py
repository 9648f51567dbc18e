"""Inverse dynamics: read the actions, and the states, from videos."""
