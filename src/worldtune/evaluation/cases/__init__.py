"""The held-out clips on which every candidate is judged."""
