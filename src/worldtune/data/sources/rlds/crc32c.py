"""CRC-32C (RFC 3720 §12.1), fast enough for records of many megabytes.

The bytes are cut into lanes of one length, which are processed side by side. A register is linear over GF(2), so the
effect of a lane's length of zeros on each of its bits combines the lanes.
"""

from math import isqrt

import numpy as np

POLYNOMIAL = 0x82F63B78
BITS = np.uint32(1) << np.arange(32, dtype=np.uint32)


def _table() -> np.ndarray:
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ np.where(table & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    return table


TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the checksum of at least four bytes."""
    lanes = isqrt(len(data))
    length = -(-len(data) // lanes)
    padded = np.zeros((lanes + len(BITS)) * length, np.uint8)  # zeros in front change nothing
    begin = lanes * length - len(data)
    padded[begin : begin + len(data)] = np.frombuffer(data, np.uint8)
    padded[begin : begin + 4] ^= 255  # equal to a register that starts as ones
    register = np.concatenate([np.zeros(lanes, np.uint32), BITS])
    for column in np.ascontiguousarray(padded.reshape(-1, length).T):
        register = TABLE[(register ^ column) & 255] ^ register >> 8
    whole, after = np.uint32(0), register[lanes:]
    for lane in register[:lanes]:
        whole = np.bitwise_xor.reduce(after[(BITS & whole) != 0]) ^ lane
    return int(whole) ^ 0xFFFF_FFFF
