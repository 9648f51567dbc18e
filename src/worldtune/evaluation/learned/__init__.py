"""Metrics of vision models. They run only if the user has the weights, which the report names by digest."""
