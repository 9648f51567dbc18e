"""Settings of an adapter, and the linear layers that they name."""

import math

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from support.tiny_world import make_denoiser
from worldtune.adapters.inject import expected_modules, inject, wrapped_modules
from worldtune.adapters.spec import TARGETS, AdapterSpec
from worldtune.adapters.targets import IN_BLOCK, OUTSIDE, linear_of
from worldtune.core.settings import parse_model
from worldtune.errors import RecipeError
from worldtune.models.catalog import KNOWN_BASES, KnownBase


@pytest.mark.parametrize("base", KNOWN_BASES, ids=lambda base: base.name)
def test_targets_cover_every_linear_layer_but_the_text_projection(base: KnownBase) -> None:
    with torch.device("meta"):
        denoiser = CosmosTransformer3DModel(**base.architecture.config())
    linears = {name for name, module in denoiser.named_modules() if isinstance(module, nn.Linear)}
    blocks = range(base.architecture.layers)
    named = {f"transformer_blocks.{block}.{linear}" for block in blocks for linear in IN_BLOCK} | set(OUTSIDE)
    assert linears - {"crossattn_proj.0"} == named
    assert all(linear_of(name) for name in named)
    for targets, in_block in (("attention", 8), ("attention+mlp", 10), ("attention+mlp+norm", 16)):
        spec = AdapterSpec(targets=targets)  # type: ignore[arg-type]
        assert expected_modules(denoiser, spec) == in_block * base.architecture.layers


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["to_q", "to_v"], {"attn1.to_q", "attn1.to_v", "attn2.to_q", "attn2.to_v"}),
        (["attn1.to_q", "to_q"], {"attn1.to_q", "attn2.to_q"}),
        (["0"], {"attn1.to_out.0", "attn2.to_out.0"}),
        (["proj"], {"ff.net.0.proj", "patch_embed.proj"}),
        (["linear_1"], {"norm1.linear_1", "norm2.linear_1", "norm3.linear_1", "norm_out.linear_1"}),
    ],
)
def test_listed_endings_select_exactly_these_linears(targets: list[str], expected: set[str]) -> None:
    spec, denoiser = AdapterSpec.model_validate({"targets": targets, "rank": 2}), make_denoiser()
    if targets == ["linear_1"]:
        expected = expected | {"time_embed.t_embedder.linear_1"}
    assert set(spec.linears) == expected
    inject(denoiser, spec, seed=0)
    assert {linear_of(name) for name in wrapped_modules(denoiser)} == expected
    assert len(wrapped_modules(denoiser)) == expected_modules(denoiser, spec)


OVERLAPPING = ["to_q", "attn1.to_q", "attn2.to_out.0", "to_out.0", "0", "linear_2", "ff.net.2"]


@given(
    ranks=st.dictionaries(st.sampled_from(OVERLAPPING), st.integers(1, 5), max_size=4),
    targets=st.sampled_from(list(TARGETS)),
    rslora=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_peft_gives_every_layer_the_spec_s_rank_and_scale(ranks: dict[str, int], targets: str, rslora: bool) -> None:
    whole = AdapterSpec(targets=targets).linears  # type: ignore[arg-type]
    ranks = {ending: rank for ending, rank in ranks.items() if any(f".{name}".endswith(f".{ending}") for name in whole)}
    spec = AdapterSpec(rank=3, alpha=7, targets=targets, ranks=ranks, rslora=rslora)  # type: ignore[arg-type]
    denoiser = make_denoiser()
    inject(denoiser, spec, seed=0)
    for name in wrapped_modules(denoiser):
        layer, rank = denoiser.get_submodule(name), spec.linears[linear_of(name) or ""]
        fitting = [ending for ending in ranks if f".{name}".endswith(f".{ending}")]
        assert layer.r["default"] == rank == (ranks[max(fitting, key=len)] if fitting else 3)
        assert layer.scaling["default"] == pytest.approx(7 / 3 * (math.sqrt(rank) if rslora else 1))


@pytest.mark.parametrize("rslora", [False, True])
def test_as_saved_has_twice_the_rank_and_the_same_scale(rslora: bool) -> None:
    spec = AdapterSpec(rank=3, alpha=7, ranks={"to_q": 5}, rslora=rslora, init="pissa")
    saved = spec.as_saved
    assert saved.as_saved == saved
    assert saved.linears == {linear: 2 * rank for linear, rank in spec.linears.items()}
    root = math.sqrt if rslora else float
    for linear in ("attn1.to_q", "attn1.to_k"):
        before = spec.alpha_pattern.get(linear, spec.lora_alpha) / root(spec.linears[linear])
        after = saved.alpha_pattern.get(linear, saved.lora_alpha) / root(saved.linears[linear])
        assert after == (pytest.approx(before, rel=1e-15) if rslora else before)
    assert AdapterSpec(rank=3).as_saved == AdapterSpec(rank=3)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"targets": "atention"}, r"'targets': there is no set 'atention'. Did you mean 'attention'\?"),
        ({"targets": ["to_qq"]}, r"'targets': no linear layer ends in 'to_qq'. Did you mean 'to_q'\?"),
        ({"targets": ["attn1.toq"]}, r"Did you mean 'attn1.to_q'\?"),
        ({"targets": ["crossattn_proj.0"]}, "no linear layer ends in 'crossattn_proj.0'"),
        ({"targets": ["norm_q"]}, "no linear layer ends in 'norm_q'"),
        ({"targets": []}, "'targets': it must name a set"),
        ({"targets": [3]}, "'targets': it must name a set"),
        ({"targets": {"to_q": 1}}, "'targets': it must name a set"),
        ({"ranks": {"ff.net2": 4}}, r"'ranks': no linear layer ends in 'ff.net2'. Did you mean 'ff.net.2'\?"),
        ({"ranks": {"norm1.linear_1": 4}}, "'ranks': no targeted linear layer ends in 'norm1.linear_1'"),
        ({"targets": "attention", "ranks": {"ff.net.2": 4}}, "no targeted linear layer ends in 'ff.net.2'"),
        ({"ranks": {"to_q": 0}}, "'ranks.to_q' is 0: input should be greater than or equal to 1"),
        ({"rank": 0}, "'rank' is 0"),
        ({"init": "pisa"}, "'init' is 'pisa'"),
    ],
)
def test_invalid_targets_and_ranks_are_one_line_errors(settings: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says) as error:
        parse_model(AdapterSpec, settings, "recipe.yaml")
    assert "\n" not in str(error.value)


def test_a_spec_round_trips() -> None:
    for spec in (AdapterSpec(), AdapterSpec(targets=("to_q", "0"), ranks={"attn2.to_q": 2}, rslora=True, init="olora")):
        assert parse_model(AdapterSpec, spec.model_dump(mode="json"), "card") == spec
