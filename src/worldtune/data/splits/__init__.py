"""Divide episodes into training and held-out sets, without leakage."""
