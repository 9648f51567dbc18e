"""Tensor names against a list of NVIDIA's names and against diffusers' class."""

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from hypothesis import given
from hypothesis import strategies as st

from worldtune.core.tensors.names import rename_tensor, rename_tensors
from worldtune.errors import BaseError

SIZES = {"2b": (16, 28), "14b": (40, 36)}
PROJECTION = {
    "use_crossattn_projection": True, "crossattn_proj_in_channels": 100352, "encoder_hidden_states_channels": 1024,
}  # fmt: skip


def diffusers_names(size: str, projection: bool) -> dict[str, tuple[int, ...]]:
    heads, layers = SIZES[size]
    with torch.device("meta"):
        model = CosmosTransformer3DModel(
            in_channels=17, attention_head_dim=128, adaln_lora_dim=256, extra_pos_embed_type=None,
            num_attention_heads=heads, num_layers=layers, **(PROJECTION if projection else {}),
        )  # fmt: skip
    return {name: tuple(t.shape) for name, t in model.state_dict().items()}


def nvidia_names(layers: int, projection: bool) -> set[str]:
    """Return the names of every tensor of cosmos-predict2.5's `MinimalV1LVGDiT`."""
    names = {
        "x_embedder.proj.1.weight", "t_embedder.1.linear_1.weight", "t_embedder.1.linear_2.weight",
        "t_embedding_norm.weight", "final_layer.linear.weight", "final_layer.adaln_modulation.1.weight",
        "final_layer.adaln_modulation.2.weight",
    }  # fmt: skip
    if projection:
        names |= {"crossattn_proj.0.weight", "crossattn_proj.0.bias"}
    for block in range(layers):
        for branch in ("self_attn", "cross_attn"):
            for part in ("q_proj", "k_proj", "v_proj", "output_proj", "q_norm", "k_norm"):
                names.add(f"blocks.{block}.{branch}.{part}.weight")
        for branch in ("self_attn", "cross_attn", "mlp"):
            names |= {f"blocks.{block}.adaln_modulation_{branch}.{i}.weight" for i in (1, 2)}
        names |= {f"blocks.{block}.mlp.layer{i}.weight" for i in (1, 2)}
    return names


@pytest.mark.parametrize("projection", [True, False], ids=["predict2.5", "predict2"])
@pytest.mark.parametrize("size", SIZES)
def test_every_tensor_is_renamed_in_both_directions(size: str, projection: bool) -> None:
    theirs = diffusers_names(size, projection)
    forth = rename_tensors(theirs, "nvidia", "here")
    assert set(forth.names.values()) == nvidia_names(SIZES[size][1], projection)
    assert forth.dropped == {}
    back = rename_tensors([f"net.{name}" for name in forth.names.values()], "diffusers", "here")
    assert list(back.names.values()) == list(theirs)


@pytest.mark.parametrize(
    ("nvidia", "diffusers"),
    [
        ("blocks.7.self_attn.q_proj.weight", "transformer_blocks.7.attn1.to_q.weight"),
        ("blocks.27.cross_attn.output_proj.weight", "transformer_blocks.27.attn2.to_out.0.weight"),
        ("blocks.0.cross_attn.k_norm.weight", "transformer_blocks.0.attn2.norm_k.weight"),
        ("blocks.3.mlp.layer2.weight", "transformer_blocks.3.ff.net.2.weight"),
        ("blocks.3.adaln_modulation_mlp.1.weight", "transformer_blocks.3.norm3.linear_1.weight"),
        ("blocks.1.self_attn.v_proj.lora_A.default.weight", "transformer_blocks.1.attn1.to_v.lora_A.default.weight"),
        ("blocks.1.mlp.layer1.base_layer.weight", "transformer_blocks.1.ff.net.0.proj.base_layer.weight"),
        ("x_embedder.proj.1.weight", "patch_embed.proj.weight"),
        ("t_embedder.1.linear_2.weight", "time_embed.t_embedder.linear_2.weight"),
        ("final_layer.adaln_modulation.2.weight", "norm_out.linear_2.weight"),
        ("crossattn_proj.0.bias", "crossattn_proj.0.bias"),
    ],
)
def test_examples_of_names(nvidia: str, diffusers: str) -> None:
    assert rename_tensor(nvidia, "diffusers") == diffusers
    assert rename_tensor(diffusers, "nvidia") == nvidia


@pytest.mark.parametrize("prefix", ["", "net.", "base_model.model.", "net.base_model.model.", "base_model.model.net."])
def test_wrapper_prefixes_are_stripped(prefix: str) -> None:
    renaming = rename_tensors([f"{prefix}blocks.0.mlp.layer1.weight"], "diffusers", "here")
    assert list(renaming.names.values()) == ["transformer_blocks.0.ff.net.0.proj.weight"]


def test_entries_that_are_not_weights_are_dropped_with_a_reason() -> None:
    names = ["net.blocks.0.self_attn.q_norm._extra_state", "net.accum_iteration", "net.pos_embedder.seq", "net_ema.x"]
    renaming = rename_tensors(names, "diffusers", "here")
    assert renaming.names == {}
    assert list(renaming.dropped) == names
    assert len(set(renaming.dropped.values())) == 4


def test_unknown_and_duplicate_names_are_errors() -> None:
    with pytest.raises(BaseError, match=r"2 unknown tensors: net\.lost, blocks\.0\.mlp\.layer3\.weight"):
        rename_tensors(["net.lost", "blocks.0.mlp.layer3.weight"], "diffusers", "here")
    with pytest.raises(BaseError, match="2 tensors that get the same name"):
        rename_tensors(["net.final_layer.linear.weight", "final_layer.linear.weight"], "diffusers", "here")


@given(st.text(max_size=60))
def test_renaming_is_reversible(name: str) -> None:
    for to, back in (("diffusers", "nvidia"), ("nvidia", "diffusers")):
        new = rename_tensor(name, to)  # type: ignore[arg-type]
        assert new is None or rename_tensor(new, back) == name  # type: ignore[arg-type]
