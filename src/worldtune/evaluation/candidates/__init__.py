"""Candidates of an evaluation and their videos."""
