"""Seeds for independent random numbers, from what they belong to.

PyTorch's generator on a CPU takes 32 bits of a seed, so that sums and products of numbers would soon repeat.
"""

import hashlib


def seed_of(*parts: int | str) -> int:
    """32 bits that depend on every number or text and on their order."""
    told = ",".join(repr(part) if isinstance(part, str) else str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=4).digest(), "little")
