"""A base model from a diffusers folder, with what is known of it and the digests of its parts."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel

from worldtune.errors import BaseError
from worldtune.files import digest_bytes, digest_file, digest_json
from worldtune.worlds.catalog import KNOWN_BASES, KnownBase
from worldtune.worlds.weights import load_module, read_json
from worldtune.worlds.world import World, WorldCard

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
CLASSES = {
    "model_index.json": "Cosmos2_5_PredictBasePipeline",
    "scheduler/scheduler_config.json": "UniPCMultistepScheduler",
}


def open_world(source: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> World:
    """The base named `source`: "pocket", which the package ships, or a folder in diffusers' layout.

    The denoiser is read now, frozen; the codec and text encoder when first asked for, as strictly.
    Raises BaseError when a part is missing, or a tensor is missing, unknown or of another shape.
    """
    folder = pocket_folder() if source == "pocket" else Path(source)
    check_layout(folder, source)
    denoiser = _load_denoiser(folder, dtype).to(device)
    known = _known(source, denoiser.config)
    digests = {part: _digest_folder(folder / part) for part in PARTS}
    card = WorldCard(
        name=known.name if source == known.name else folder.name,
        source=source,
        digest=digest_json(digests),
        codec_digest=digests["vae"],
        text_digest=digest_json([digests["text_encoder"], digests["tokenizer"], _projection_digest(denoiser)]),
        schedule=known.schedule,
        conditional_sigma=known.conditional_sigma,
        frames=known.frames,
        fps=known.fps,
        height=known.height,
        width=known.width,
    )
    return World(card, folder, denoiser, torch.device(device))


def pocket_folder() -> Path:
    """Where the package keeps the pocket world."""
    return Path(str(files("worldtune"))) / "worlds" / "pocket"


def check_layout(folder: Path, source: str) -> None:
    """Raises BaseError unless `folder` has the parts of a diffusers Cosmos Predict 2.5 pipeline."""
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing or not (folder / "model_index.json").is_file():
        raise BaseError(
            f"this is no base model: {', '.join(missing) or 'model_index.json'} is not there",
            where=source,
            mend="Name 'pocket' or a folder in diffusers' layout; `worldtune bases` lists the known ones.",
        )
    for name, kind in CLASSES.items():
        found = read_json(folder / name).get("_class_name")
        if found != kind:
            raise BaseError(f"{name} is of a {found}, not a {kind}", where=source, mend="See `worldtune bases`.")


def _load_denoiser(folder: Path, dtype: torch.dtype) -> CosmosTransformer3DModel:
    model = load_module(CosmosTransformer3DModel, folder / "transformer", dtype)
    if model.config.extra_pos_embed_type is not None or model.config.img_context_dim_in:
        raise BaseError(
            "the denoiser has learned positions or sees pictures as context: it is no Predict 2.5 model",
            where=str(folder),
            mend="Name a Predict 2.5 base; `worldtune bases` lists them.",
        )
    return model


def _known(source: str, config: Any) -> KnownBase:
    """The catalogue's entry for `source`, or for the denoiser's architecture.

    A folder does not say how its model was trained; the architecture's first entry is its usual release.
    """
    by_name = [base for base in KNOWN_BASES if base.name == source]
    size = {28: "predict2.5-2b", 36: "predict2.5-14b"}.get(config.num_layers, "pocket")
    return (by_name or [base for base in KNOWN_BASES if base.name.startswith(size)])[0]


def _projection_digest(denoiser: CosmosTransformer3DModel) -> str:
    """Digest of the text projection, on which stored text depends."""
    if not denoiser.config.use_crossattn_projection:
        return ""
    tensors = denoiser.crossattn_proj.state_dict()
    return digest_json({name: digest_bytes(t.float().cpu().numpy().tobytes()) for name, t in tensors.items()})


def _digest_folder(folder: Path) -> str:
    return digest_json({path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()})
