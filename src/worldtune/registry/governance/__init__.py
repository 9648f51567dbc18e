"""Administration, evidence, approval and promotion."""
