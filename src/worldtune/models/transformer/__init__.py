"""The denoiser and its layers."""
