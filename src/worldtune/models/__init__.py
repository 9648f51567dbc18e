"""Base models: a denoiser, a video codec and a text encoder, read from disk."""
