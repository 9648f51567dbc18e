"""From first frames to a dataset with actions: inverse dynamics, dreams, critics, export, study."""
