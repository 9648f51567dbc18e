"""Metrics with weights: they are run where the user has the weights, named by their digest, and never are zero."""
