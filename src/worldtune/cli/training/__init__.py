"""Output and cluster jobs of the training verbs."""
