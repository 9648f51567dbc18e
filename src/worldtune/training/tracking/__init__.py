"""Record the lineage of a run, and send its metrics to trackers."""
