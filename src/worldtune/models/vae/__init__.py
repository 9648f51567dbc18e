"""The video codec."""
