"""Cards by name and by memory."""

import pytest

from worldtune.errors import UserError
from worldtune.planning.gpus import GIB, GPUS, find_gpu, gpu_with


def test_card_name_ignores_case() -> None:
    assert find_gpu("H100") is GPUS["h100"]


def test_misspelled_card_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'l40s'"):
        find_gpu("l40")


@pytest.mark.parametrize("memory", ["24GB", "24 GB", "24gib", "24", "24G"])
def test_gigabyte_of_a_card_is_a_gibibyte(memory: str) -> None:
    if memory == "24":
        with pytest.raises(UserError, match="not a size"):
            gpu_with(memory)
    else:
        assert gpu_with(memory).usable == 23 * GIB


@pytest.mark.parametrize("memory", ["", "-3GB", "many", "nanGB", "24TB"])
def test_invalid_memory_size_is_an_error(memory: str) -> None:
    with pytest.raises(UserError, match="is not a size"):
        gpu_with(memory)


@pytest.mark.parametrize("memory", ["0GB", "0.5GB", "1GB"])
def test_card_too_small_for_cuda_is_an_error(memory: str) -> None:
    with pytest.raises(UserError, match="CUDA alone takes all"):
        gpu_with(memory)
