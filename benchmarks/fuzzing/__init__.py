"""Seeded mutations of every file that worldtune reads, and what its readers do with them."""
