"""Decode video files, index them and cache what was measured."""
