"""Cards by name and by memory."""

import pytest

from worldtune.errors import UserError
from worldtune.planning.gpus import GIB, GPUS, find_gpu, gpu_with


def test_a_card_by_name_whatever_its_case() -> None:
    assert find_gpu("H100") is GPUS["h100"]


def test_a_misspelt_card_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'l40s'"):
        find_gpu("l40")


@pytest.mark.parametrize("memory", ["24GB", "24 GB", "24gib", "24", "24G"])
def test_gigabytes_are_counted_as_makers_of_cards_do(memory: str) -> None:
    if memory == "24":
        with pytest.raises(UserError, match="no size"):
            gpu_with(memory)
    else:
        assert gpu_with(memory).usable == 23 * GIB


@pytest.mark.parametrize("memory", ["", "-3GB", "many", "nanGB", "24TB"])
def test_no_size_is_refused(memory: str) -> None:
    with pytest.raises(UserError, match="is no size"):
        gpu_with(memory)


@pytest.mark.parametrize("memory", ["0GB", "0.5GB", "1GB"])
def test_a_card_that_cuda_fills_is_refused(memory: str) -> None:
    with pytest.raises(UserError, match="leaves nothing"):
        gpu_with(memory)
