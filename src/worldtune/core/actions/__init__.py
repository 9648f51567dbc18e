"""The meaning of a robot's actions, and the form in which a model reads them."""

DEFAULT_GUIDANCE = 1.0
"""Strength a of a·(v − v without actions) for a model that was trained with dropped actions: videos obey better at a
small cost in PSNR."""
