"""Is the adapter better than the base? Metrics, paired comparison, report. Works on plain uint8 arrays."""
