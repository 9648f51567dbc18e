"""Critics of dreams: limits that are calibrated on real clips, a chain that applies them, and near duplicates."""
