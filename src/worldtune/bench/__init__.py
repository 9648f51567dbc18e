"""What was promised, measured: each bench prints figures beside their goals."""
