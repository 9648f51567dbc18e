"""Measure the quality of clips, and find defective or duplicate recordings."""
