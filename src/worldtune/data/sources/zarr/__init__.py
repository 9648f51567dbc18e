"""Zarr groups of UMI and diffusion policy."""
