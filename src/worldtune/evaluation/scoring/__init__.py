"""Score videos, case by case and metric by metric."""
