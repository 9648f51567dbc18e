"""How many latents a clip has: one for 8×8 pixels, and for the first frame or four further ones."""

TEMPORAL, SPATIAL = 4, 8


def latent_frames(frames: int) -> int:
    """Latent frames of `frames` pictures. Raises ValueError unless frames = 1 + 4n."""
    if frames < 1 or (frames - 1) % TEMPORAL:
        raise ValueError(f"{frames} frames: the codec takes 1, 5, 9, … (1 + {TEMPORAL}n)")
    return 1 + (frames - 1) // TEMPORAL
