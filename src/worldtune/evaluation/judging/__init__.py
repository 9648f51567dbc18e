"""Judges: vision-language models that are asked about videos, and how far they can be trusted."""
