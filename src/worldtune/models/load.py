"""Open a base model from its files, with its card and the digests of its parts."""

from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor

from worldtune.core.files import digest_bytes, digest_file, digest_json
from worldtune.core.tensors.names import rename_tensors
from worldtune.core.tensors.read import read_tensors
from worldtune.errors import BaseError
from worldtune.models.action_conditioning import add_own_embedders, split_embedder
from worldtune.models.catalog import CONFIG_KEYS, KNOWN_BASES, KnownBase
from worldtune.models.device import PRECISION, choose_device
from worldtune.models.memory.offload import Offload
from worldtune.models.model_config import read_config
from worldtune.models.resolve_base import PARTS, Source, locate
from worldtune.models.text.prompt_encoder import PromptEncoder
from worldtune.models.text.reason1 import TextEncoder
from worldtune.models.text.t5 import T5Text
from worldtune.models.weights import fill_module, load_module
from worldtune.models.world import World, WorldCard

EULER = "FlowMatchEulerDiscreteScheduler"
CLASSES = {"Cosmos2_5_PredictBasePipeline": "UniPCMultistepScheduler", "Cosmos2VideoToWorldPipeline": EULER}


def open_world(name: str, device: str = "cpu", dtype: torch.dtype = torch.float32, offload: Offload = "none") -> World:
    """Return the base named `name`, as described in `resolve_base`.

    The frozen denoiser is read now; codec and text encoder are read at first use, just as strictly. Raise BaseError if
    a part is missing; a tensor is missing, unknown or of another shape; or the base's training is unknown.
    """
    source = locate(name)
    check_layout(source.folder, name)
    denoiser, embedder = _load_denoiser(source, dtype)
    known = _trained_as(source, denoiser.config, name, acting=bool(embedder))
    add_own_embedders(denoiser, known, embedder, dtype, source.checkpoint or source.folder)
    family = read_config(source.folder / "model_index.json")["_class_name"]
    if (known.schedule.kind == "edm") != (CLASSES[family] == EULER):
        raise BaseError(f"a {family} was not trained as {known.name}", where=name, hint="See `worldtune bases`.")
    digests = {part: _digest_folder(source.folder / part) for part in PARTS}
    if source.checkpoint:
        digests["transformer"] = digest_json([digests["transformer"], _digest_tree(source.checkpoint)])
    card = WorldCard.of(
        known,
        name=name if name == known.name else (source.checkpoint or source.folder).name,
        source=name,
        revision=source.revision,
        digest=digest_json(digests | {"trained_as": known.name}),
        codec_digest=digests["vae"],
        text_digest=digest_json([digests["text_encoder"], digests["tokenizer"], _projection_digest(denoiser)]),
    )
    return World(card, source.folder, denoiser, torch.device(device), offload)


def open_world_on(device: str | None, name: str, offload: Offload = "none") -> World:
    """Return `open_world` on a named device, or by default on a GPU if there is one, in that device's precision.

    Raise UserError if the device does not exist.
    """
    chosen = choose_device(device)
    return open_world(name, str(chosen), PRECISION[chosen.type], offload)


def check_layout(folder: Path, source: str) -> None:
    """Raise BaseError unless `folder` has the parts of a diffusers pipeline of Cosmos Predict 2.5 or 2."""
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing or not (folder / "model_index.json").is_file():
        raise BaseError(
            f"this is not a base model: {', '.join(missing) or 'model_index.json'} is missing",
            where=source,
            hint="Specify 'pocket' or a folder in diffusers' layout; `worldtune bases` lists the known bases.",
        )
    pipeline = read_config(folder / "model_index.json").get("_class_name")
    if not isinstance(pipeline, str) or pipeline not in CLASSES:
        what = f"model_index.json is of a {pipeline}, not a {' or '.join(CLASSES)}"
        raise BaseError(what, where=source, hint="See `worldtune bases`.")
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json").get("_class_name")
    if scheduler != CLASSES[pipeline]:
        what = f"scheduler_config.json is of a {scheduler}, not a {CLASSES[pipeline]}"
        raise BaseError(what, where=source, hint="See `worldtune bases`.")


def open_prompt_encoder(folder: Path) -> PromptEncoder:
    """Return the prompt encoder of a base's folder: the tokenizer is read now, the weights at the first prompt.

    Raise BaseError if the tokenizer cannot be read.
    """
    family = read_config(folder / "model_index.json").get("_class_name")
    kind = T5Text if CLASSES.get(str(family)) == EULER else TextEncoder
    return kind(folder, torch.device("cpu"), torch.float32)


def _load_denoiser(source: Source, dtype: torch.dtype) -> tuple[CosmosTransformer3DModel, dict[str, Tensor]]:
    """Return the denoiser, and the tensors of its action embedders if its checkpoint has them."""
    folder = source.folder / "transformer"
    if missing := sorted(CONFIG_KEYS - read_config(folder / "config.json").keys()):
        what = f"config.json does not state {missing[0]}, and diffusers would use a default"
        raise BaseError(what, where=str(folder), hint="Copy the model again.")
    if source.checkpoint:
        embedder, tensors = split_embedder(read_tensors(source.checkpoint))
        renamed = rename_tensors(tensors, "diffusers", str(source.checkpoint)).of(tensors)
        model = fill_module(CosmosTransformer3DModel, folder, renamed, dtype, source.checkpoint)
    else:
        model, embedder = load_module(CosmosTransformer3DModel, folder, dtype), {}
    if model.config.extra_pos_embed_type is not None or model.config.img_context_dim_in:
        raise BaseError(
            "the denoiser has learned positions or image context: it is not a Predict 2.5 or 2 model",
            where=str(source.folder),
            hint="Specify a base of `worldtune bases`.",
        )
    return model, embedder


def _trained_as(source: Source, config: Any, name: str, *, acting: bool) -> KnownBase:
    """Return the stated catalog base, or else the only one with this architecture that reads actions or does not.

    Raise BaseError if none or several have it, or the stated base has another architecture.
    """
    matches = [b for b in KNOWN_BASES if all(_same(config[k], v) for k, v in b.architecture.config().items())]
    stated = source.trained_as
    if stated and matches and stated.name not in [base.name for base in matches]:
        what = f"it has the architecture of {matches[0].name}, not of {stated.name}"
        raise BaseError(what, where=name, hint="State the base it was trained as.")
    if stated:
        return stated
    matches = [base for base in matches if (base.actions is not None) == acting]
    if len(matches) == 1:
        return matches[0]
    names = [base.name for base in matches]
    what = (
        f"it may be {' or '.join(names)}, which are sampled differently"
        if matches
        else "no known base has its architecture"
    )
    raise BaseError(
        f"the base does not state how it was trained: {what}",
        where=name,
        hint=f"State it, as in {names[0] if names else 'predict2.5-2b/post-trained'}={name}.",
    )


def _same(found: Any, known: Any) -> bool:
    return tuple(found) == known if isinstance(known, tuple) else bool(found == known)


def _projection_digest(denoiser: CosmosTransformer3DModel) -> str:
    """Return the digest of the text projection, on which stored text depends."""
    if not denoiser.config.use_crossattn_projection:
        return ""
    tensors = denoiser.crossattn_proj.state_dict()
    return digest_json({name: digest_bytes(t.float().cpu().numpy().tobytes()) for name, t in tensors.items()})


def _digest_folder(folder: Path) -> str:
    return digest_json({path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()})


def _digest_tree(path: Path) -> str:
    """Return the digest of one file, or of every file below a folder."""
    if path.is_file():
        return digest_file(path)
    paths = sorted(below for below in path.rglob("*") if below.is_file())
    return digest_json({str(below.relative_to(path)): digest_file(below) for below in paths})
