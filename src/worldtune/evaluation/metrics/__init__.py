"""What one generated clip is worth, measured against its reference."""
