"""Adapters without training: random tensors instead of trained ones."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel

from worldtune.adapters.card import CARD, AdapterCard, PreflightProof
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.files import digest_json

SPECS = {
    "lora": AdapterSpec(
        method="lora", rank=4, alpha=10
    ),  # alpha differs from rank, to detect a reload that assumes they are equal
    "dora": AdapterSpec(method="dora", rank=4, alpha=10),
}


def train_by_hand(denoiser: CosmosTransformer3DModel, spec: AdapterSpec) -> None:
    """Inject an adapter and give it weights that change the output much."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in inject(denoiser, spec, seed=5).items():
            noise = torch.randn(parameter.shape, generator=generator)
            if "magnitude" in name:
                parameter.mul_(1 + 0.3 * noise)
            else:
                parameter.add_(0.1 * noise)


def make_card(spec: AdapterSpec, base_digest: str) -> AdapterCard:
    proof = PreflightProof(
        base_tensors=1, wrapped_modules=20, expected_modules=20, trainable_parameters=1, zero_step_difference=0.0,
        first_loss=1.0, first_loss_band=(0.0, 2.0), reached_tensors=40, trained_difference=1.0, final_loss=0.5,
    )  # fmt: skip
    return AdapterCard(
        name="by hand", adapter=spec, base="tiny", base_digest=base_digest, schedule="karras",
        conditional_sigma=0.0001, modes={"image2world": 1.0}, frames=9, fps=16, height=32, width=32, fit="stretch",
        step=6, average=None, weights_digest="", lineage={}, preflight=proof,
    )  # fmt: skip


def card_text(fields: dict[str, Any]) -> str:
    """Return the text of a card with these fields, valid or not, and their digest."""
    return json.dumps(fields | {"digest": digest_json(fields)})


def fields_of(folder: Path) -> dict[str, Any]:
    """Return the fields of a folder's card, without the digest."""
    fields: dict[str, Any] = json.loads((folder / CARD).read_text())
    del fields["digest"]
    return fields


def edit_card(folder: Path, **changes: Any) -> None:
    """Change fields of a folder's card and update its digest."""
    (folder / CARD).write_text(card_text(fields_of(folder) | changes))
