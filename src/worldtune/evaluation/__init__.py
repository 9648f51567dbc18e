"""Compare adapters with their base on held-out clips: metrics, statistics, gates, report."""
