"""Adapters that stock PEFT and diffusers write, with the weights that these libraries merge."""

import json
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import peft
from diffusers.loaders import CosmosLoraLoaderMixin
from peft import LoraConfig, PeftConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.adapters.formats.adapter_format import RANK, TARGETS, AdapterFormat, WrittenAdapter, denoiser, perturb
from worldtune.adapters.card import WEIGHTS

LORAS: Mapping[str, Mapping[str, Any]] = {
    "LoRA": {},
    "LoRA, alpha 10": {"lora_alpha": 10},
    "rsLoRA": {"use_rslora": True, "lora_alpha": 10},
    "DoRA": {"use_dora": True, "lora_alpha": 10},
    "ranks and alphas by pattern": {"rank_pattern": {"ff.net.2": 2}, "alpha_pattern": {r"0\.attn1\.to_q": 7}},
    "fan_in_fan_out": {"fan_in_fan_out": True},
    "init gaussian": {"init_lora_weights": "gaussian"},
    "init orthogonal": {"init_lora_weights": "orthogonal"},
    "init EVA": {"init_lora_weights": "eva"},
    "init MiCA": {"init_lora_weights": "mica"},
    "modules_to_save": {"modules_to_save": ["proj_out"]},
    "bias all": {"bias": "all"},
}
CHANGED_BASE: Mapping[str, Mapping[str, Any]] = {
    "init PiSSA": {"init_lora_weights": "pissa"},
    "init PiSSA by 4 iterations": {"init_lora_weights": "pissa_niter_4"},
    "init OLoRA": {"init_lora_weights": "olora"},
}
OTHER_LORAS: Mapping[str, Mapping[str, Any]] = {
    "lora_bias": {"lora_bias": True},
    "layer_replication": {"layer_replication": [[0, 2], [1, 2]]},
    "trainable_token_indices": {"trainable_token_indices": [0, 1]},
    "alora_invocation_tokens": {"alora_invocation_tokens": [1]},
    "use_qalora": {"use_qalora": True},
    "target_parameters": {"target_parameters": ["proj_out.weight"]},
    "init_lora_weights corda": {"init_lora_weights": "corda"},
    "init_lora_weights loftq": {"init_lora_weights": "loftq"},
    "init_lora_weights lora_ga": {"init_lora_weights": "lora_ga"},
}
TUNERS = {
    "LoHa": "LoHa", "LoKr": "LoKr", "OFT": "OFT", "BOFT": "BOFT", "IA3": "(IA)³", "Vera": "VERA",
    "AdaLora": "AdaLoRA", "FourierFT": "FOURIERFT", "HRA": "HRA", "Miss": "MISS", "RandLora": "RANDLORA",
}  # fmt: skip


def adapter_formats() -> Iterator[AdapterFormat]:
    """Yield every format of the two libraries."""
    for name, settings in LORAS.items():
        yield AdapterFormat(f"PEFT, {name}", "PEFT", partial(_write_peft, settings=settings))
    yield AdapterFormat(
        "PEFT, a named adapter in its subfolder", "PEFT", partial(_write_peft, settings={}, adapter="cell7")
    )
    yield AdapterFormat(
        "PEFT, the weights' file named", "PEFT", partial(_write_peft, settings={"lora_alpha": 10}, file=True)
    )
    yield AdapterFormat("PEFT, a state dict with the adapter's name", "PEFT", _write_named_state)
    yield AdapterFormat("PEFT, init PiSSA converted at saving", "PEFT", _write_converted)
    for name, settings in CHANGED_BASE.items():
        yield AdapterFormat(
            f"PEFT, {name}", "PEFT", partial(_write_peft, settings=settings, refused="init_lora_weights")
        )
    for name, settings in OTHER_LORAS.items():
        yield AdapterFormat(f"PEFT, {name}", "PEFT", partial(_write_edited, settings=settings, refused=name.split()[0]))
    for name in TUNERS:
        yield AdapterFormat(f"PEFT, {name}", "PEFT", partial(_write_tuner, name=name))
    yield AdapterFormat(
        "diffusers, LoRA with metadata", "diffusers", partial(_write_diffusers, settings={"lora_alpha": 10})
    )
    yield AdapterFormat(
        "diffusers, DoRA with metadata", "diffusers", partial(_write_diffusers, settings={"use_dora": True})
    )
    yield AdapterFormat(
        "diffusers, LoRA without metadata", "diffusers", partial(_write_diffusers, settings={}, with_metadata=False)
    )


def _config(settings: Mapping[str, Any]) -> LoraConfig:
    return LoraConfig(**{"r": RANK, "lora_alpha": RANK, "target_modules": TARGETS} | dict(settings))


def _write_peft(
    folder: Path, settings: Mapping[str, Any], adapter: str = "default", file: bool = False, refused: str | None = None
) -> WrittenAdapter:
    model = _wrap(_config(settings), adapter)
    model.save_pretrained(folder / "adapter")
    path = folder / "adapter" / ("adapter_model.safetensors" if file else "")
    return WrittenAdapter(path, _merge(model), refused=refused)


def _wrap(config: PeftConfig, adapter: str = "default") -> Any:
    """Return a denoiser with a trained PEFT adapter, ignoring PEFT's warnings about this use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(denoiser(), config, adapter_name=adapter)
    perturb({name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad})
    return model


def _merge(model: Any) -> dict[str, Tensor]:
    merged: nn.Module = model.merge_and_unload()
    return {name: tensor.detach().clone() for name, tensor in merged.state_dict().items()}


def _write_named_state(folder: Path) -> WrittenAdapter:
    model = _wrap(_config({"lora_alpha": 10}), "cell7")
    tensors = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" in name}
    save_file(tensors, folder / "adapter.safetensors", metadata={"lora_alpha": "10"})
    return WrittenAdapter(folder / "adapter.safetensors", _merge(model))


def _write_converted(folder: Path) -> WrittenAdapter:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(denoiser(), _config({"init_lora_weights": "pissa"}))
        model.peft_config[
            "default"
        ].init_lora_weights = True  # as PEFT requires, so that loading does not initialize again
        model.save_pretrained(folder / "start")
        perturb({name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad})
        model.peft_config["default"].init_lora_weights = "pissa"
        model.save_pretrained(folder / "adapter", path_initial_model_for_weight_conversion=str(folder / "start"))
    return WrittenAdapter(folder / "adapter", _merge(model))


def _write_edited(folder: Path, settings: Mapping[str, Any], refused: str) -> WrittenAdapter:
    """Write a plain adapter whose configuration states a feature that PEFT cannot create on a denoiser."""
    written = _write_peft(folder, {})
    path = written.path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(settings)))
    return WrittenAdapter(written.path, written.expected, refused=refused)


def _write_tuner(folder: Path, name: str) -> WrittenAdapter:
    settings: dict[str, Any] = {"target_modules": ["attn1.to_q"]}
    settings |= {"feedforward_modules": []} if name == "IA3" else {}
    settings |= {"oft_block_size": 0, "r": 4} if name == "OFT" else {}
    settings |= {"total_step": 10} if name == "AdaLora" else {}
    model = _wrap(getattr(peft, f"{name}Config")(**settings))
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "adapter_config.json").unlink()  # the tensors alone must reveal the kind
    return WrittenAdapter(folder / "adapter", {}, alpha="rank", refused=TUNERS[name])


def _write_diffusers(folder: Path, settings: Mapping[str, Any], with_metadata: bool = True) -> WrittenAdapter:
    model, config = denoiser(), _config(settings)
    model.add_adapter(config)
    perturb({name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad})
    layers, header = get_peft_model_state_dict(model), config.to_dict() if with_metadata else None
    CosmosLoraLoaderMixin.save_lora_weights(
        folder / "adapter", transformer_lora_layers=layers, transformer_lora_adapter_metadata=header
    )
    if not with_metadata:
        tensors = load_file(folder / "adapter" / WEIGHTS)
        save_file({name.replace(".lora_A.", ".lora_A.default_0."): t for name, t in tensors.items()
                   if "lora_A" in name} | {name.replace(".lora_B.", ".lora_B.default_0."): t
                   for name, t in tensors.items() if "lora_B" in name}, folder / "adapter" / WEIGHTS)  # fmt: skip
    model.fuse_lora()
    model.unload_lora()
    merged_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return WrittenAdapter(folder / "adapter", merged_weights, alpha=None if with_metadata else "rank")
