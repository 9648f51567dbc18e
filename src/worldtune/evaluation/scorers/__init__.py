"""Metrics that need more than the pixels of two videos: other clips, weights, a model that answers."""
