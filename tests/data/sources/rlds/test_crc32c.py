import google_crc32c
import numpy as np
import pytest

from worldtune.data.sources.rlds.crc32c import crc32c


def test_value_of_the_standard() -> None:
    """The value is from RFC 3720 §B.4, in the byte order of an integer."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("size", [4, 5, 8, 15, 16, 17, 999, 100_003])
def test_values_are_those_of_googles_library(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == google_crc32c.value(data)
