"""Encode a run's datasets, and make its batches."""
