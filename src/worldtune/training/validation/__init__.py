"""Loss on held-out clips."""
