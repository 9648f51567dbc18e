"""Judges: vision-language models that answer questions about videos, and the measurement of their accuracy."""
