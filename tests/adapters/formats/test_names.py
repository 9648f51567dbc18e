"""Module names in every tool."""

import pytest

from worldtune.adapters.formats.names import module_of, name_in

TO_Q, PATCH = "transformer_blocks.11.attn1.to_q", "patch_embed.proj"


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("transformer.transformer_blocks.11.attn1.to_q", TO_Q),
        ("base_model.model.net.blocks.11.self_attn.q_proj", TO_Q),
        ("pipe.dit.blocks.11.self_attn.q_proj", TO_Q),
        ("model.diffusion_model.blocks.11.self_attn.q_proj", TO_Q),
        ("module._orig_mod.transformer_blocks.11._orig_mod.attn1.to_q", TO_Q),
        ("lora_unet_blocks_11_self_attn_q_proj", TO_Q),
        ("lora_unet__blocks_11_self_attn_q_proj", TO_Q),
        ("lora_unet_net_blocks_11_self_attn_q_proj", TO_Q),
        ("lora_unet_transformer_blocks_11_attn1_to_q", TO_Q),
        ("lora_transformer_transformer_blocks_11_attn1_to_q", TO_Q),
        ("lora_transformer_blocks_11_attn1_to_q", TO_Q),
        ("lora_unet_transformer_transformer_blocks_11_attn1_to_q", TO_Q),
        ("lycoris_blocks_11_self_attn_q_proj", TO_Q),
        ("lora_unet_x_embedder_proj_1", PATCH),
        ("lora_unet_patch_embed_proj", PATCH),
        ("lora_unet_blocks_11_attn9_to_q", None),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", None),
        ("transformer_blocks.11.attn1.to_q.oft_R", None),
        ("transformer_blocks.11.attn1", None),
    ],
)
def test_module_of_a_name(name: str, module: str | None) -> None:
    assert module_of(name) == module


@pytest.mark.parametrize("module", [TO_Q, PATCH, "norm_out.linear_1", "transformer_blocks.0.norm3.linear_2"])
def test_every_format_round_trips(module: str) -> None:
    for style in ("diffusers", "peft", "nvidia", "comfyui", "kohya"):
        assert module_of(name_in(module, style)) == module  # type: ignore[arg-type]
