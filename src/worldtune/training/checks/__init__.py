"""What must be true before a run, and after it."""
