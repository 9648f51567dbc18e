"""Seeds for independent random numbers, hashed from the numbers and texts that identify them.

PyTorch's CPU generator uses only 32 bits of a seed: sums and products of numbers would often collide.
"""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a 32-bit seed that depends on every part and on their order."""
    text = ",".join(repr(part) if isinstance(part, str) else str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")
