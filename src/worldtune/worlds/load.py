"""A base model from its files, with what is known of it and the digests of its parts."""

from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel

from worldtune.errors import BaseError
from worldtune.files import digest_bytes, digest_file, digest_json
from worldtune.tensor_files import read_tensors
from worldtune.tensor_names import rename_all
from worldtune.worlds.catalog import CONFIG_KEYS, KNOWN_BASES, KnownBase
from worldtune.worlds.config_file import read_json
from worldtune.worlds.device import PRECISION, choose_device
from worldtune.worlds.offload import Offload
from worldtune.worlds.source import PARTS, Source, locate
from worldtune.worlds.weights import fill_module, load_module
from worldtune.worlds.world import World, WorldCard

EULER = "FlowMatchEulerDiscreteScheduler"
CLASSES = {"Cosmos2_5_PredictBasePipeline": "UniPCMultistepScheduler", "Cosmos2VideoToWorldPipeline": EULER}


def open_world(name: str, device: str = "cpu", dtype: torch.dtype = torch.float32, offload: Offload = "none") -> World:
    """The base named `name`, in the ways of `worlds.source`.

    The denoiser is read now, frozen; the codec and text encoder when first asked for, as strictly.
    Raises BaseError when a part is missing, a tensor is missing, unknown or of another shape, or it cannot be known
    how the base was trained.
    """
    source = locate(name)
    check_layout(source.folder, name)
    denoiser = _load_denoiser(source, dtype)
    known = _trained_as(source, denoiser.config, name)
    family = read_json(source.folder / "model_index.json")["_class_name"]
    if (known.schedule.kind == "edm") != (CLASSES[family] == EULER):
        raise BaseError(f"a {family} was not trained as {known.name}", where=name, mend="See `worldtune bases`.")
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
    """`open_world` on a device by name, or else on a GPU where there is one, in the precision that suits it.

    Raises UserError when there is no such device here.
    """
    chosen = choose_device(device)
    return open_world(name, str(chosen), PRECISION[chosen.type], offload)


def check_layout(folder: Path, source: str) -> None:
    """Raises BaseError unless `folder` has the parts of a diffusers pipeline of Cosmos Predict 2.5 or 2."""
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing or not (folder / "model_index.json").is_file():
        raise BaseError(
            f"this is no base model: {', '.join(missing) or 'model_index.json'} is not there",
            where=source,
            mend="Name 'pocket' or a folder in diffusers' layout; `worldtune bases` lists the known ones.",
        )
    pipeline = read_json(folder / "model_index.json").get("_class_name")
    if not isinstance(pipeline, str) or pipeline not in CLASSES:
        what = f"model_index.json is of a {pipeline}, not a {' or '.join(CLASSES)}"
        raise BaseError(what, where=source, mend="See `worldtune bases`.")
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json").get("_class_name")
    if scheduler != CLASSES[pipeline]:
        what = f"scheduler_config.json is of a {scheduler}, not a {CLASSES[pipeline]}"
        raise BaseError(what, where=source, mend="See `worldtune bases`.")


def _load_denoiser(source: Source, dtype: torch.dtype) -> CosmosTransformer3DModel:
    folder = source.folder / "transformer"
    if unsaid := sorted(CONFIG_KEYS - read_json(folder / "config.json").keys()):
        what = f"config.json does not say {unsaid[0]}, and diffusers would take a default"
        raise BaseError(what, where=str(folder), mend="Copy the model again.")
    if source.checkpoint:
        tensors = read_tensors(source.checkpoint)
        renamed = rename_all(tensors, "diffusers", str(source.checkpoint)).of(tensors)
        model = fill_module(CosmosTransformer3DModel, folder, renamed, dtype, source.checkpoint)
    else:
        model = load_module(CosmosTransformer3DModel, folder, dtype)
    if model.config.extra_pos_embed_type is not None or model.config.img_context_dim_in:
        raise BaseError(
            "the denoiser has learned positions or sees pictures as context: it is no Predict 2.5 or 2 model",
            where=str(source.folder),
            mend="Name a base of `worldtune bases`.",
        )
    return model


def _trained_as(source: Source, config: Any, name: str) -> KnownBase:
    """What the base is said to be, or else the one base of the catalogue with this architecture.

    Raises BaseError when there is none or more, or it has the architecture of another than is said.
    """
    matches = [b for b in KNOWN_BASES if all(_same(config[k], v) for k, v in b.architecture.config().items())]
    said = source.trained_as
    if said and matches and said.name not in [base.name for base in matches]:
        what = f"it has the architecture of {matches[0].name}, not of {said.name}"
        raise BaseError(what, where=name, mend="Say what it was trained as.")
    if said:
        return said
    if len(matches) == 1:
        return matches[0]
    names = [base.name for base in matches]
    what = f"it may be {' or '.join(names)}" if matches else "no known base has its architecture"
    raise BaseError(
        f"how it was trained is not said: {what}, and they are sampled differently",
        where=name,
        mend=f"Name it as {names[0] if names else 'predict2.5-2b/post-trained'}={name}, or so.",
    )


def _same(found: Any, known: Any) -> bool:
    return tuple(found) == known if isinstance(known, tuple) else bool(found == known)


def _projection_digest(denoiser: CosmosTransformer3DModel) -> str:
    """Digest of the text projection, on which stored text depends."""
    if not denoiser.config.use_crossattn_projection:
        return ""
    tensors = denoiser.crossattn_proj.state_dict()
    return digest_json({name: digest_bytes(t.float().cpu().numpy().tobytes()) for name, t in tensors.items()})


def _digest_folder(folder: Path) -> str:
    return digest_json({path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()})


def _digest_tree(path: Path) -> str:
    """Digest of one file, or of every file below a folder."""
    if path.is_file():
        return digest_file(path)
    paths = sorted(below for below in path.rglob("*") if below.is_file())
    return digest_json({str(below.relative_to(path)): digest_file(below) for below in paths})
