"""Encode clips and prompts once, and store them by content."""
