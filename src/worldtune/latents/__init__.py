"""Clips and prompts encoded once, kept by content."""
