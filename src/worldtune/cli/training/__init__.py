"""What the training verbs print and start."""
