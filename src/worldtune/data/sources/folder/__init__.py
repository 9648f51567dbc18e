"""Folders of videos with captions."""
