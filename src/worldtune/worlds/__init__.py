"""Base models: a denoiser, a video codec and a text encoder, as read from disk."""
