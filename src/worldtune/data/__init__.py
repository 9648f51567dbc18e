"""Data: sources read in place, windows, ledger, split, and the LeRobot writer."""
