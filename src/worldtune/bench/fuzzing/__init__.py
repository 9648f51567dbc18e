"""Seeded mutations of every file that worldtune reads, and what its readers make of them."""
