"""The latent shape of a clip: one latent per 8×8 pixels, and per first frame or four later frames."""

TEMPORAL, SPATIAL = 4, 8


def latent_frames(frames: int) -> int:
    """Return the number of latent frames of `frames` frames. Raise ValueError unless frames = 1 + 4n."""
    if frames < 1 or (frames - 1) % TEMPORAL:
        raise ValueError(f"{frames} frames: the codec takes 1, 5, 9, … (1 + {TEMPORAL}n)")
    return 1 + (frames - 1) // TEMPORAL
