"""Quantization of a frozen base's weights."""
