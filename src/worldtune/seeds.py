"""Seeds for independent random numbers, from what they belong to.

PyTorch's generator on a CPU takes 32 bits of a seed, so that sums and products of numbers would soon repeat.
"""

import hashlib


def seed_of(*numbers: int) -> int:
    """32 bits that depend on every number and on their order."""
    told = ",".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=4).digest(), "little")
