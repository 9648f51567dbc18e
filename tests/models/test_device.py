import pytest
import torch

from worldtune.errors import UserError
from worldtune.models.device import PRECISION, choose_device


def test_the_default_is_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(None) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(None) == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert PRECISION[choose_device("cuda:1").type] == torch.bfloat16


@pytest.mark.parametrize("name", ["cuda:2", "cuda:x", "mps", "cuda:-1"])
def test_a_missing_device_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="cpu, cuda:0, cuda:1"):
        choose_device(name)
