"""Terminal output, and the interruption of a verb."""
