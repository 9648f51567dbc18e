"""Captions of recordings: templates, reviewed files and vision-language models."""
