"""A base model from disk, every tensor accounted for.

Nothing is loaded that does not fit exactly: a base whose weights were silently left out trains adapters on
noise (https://github.com/nvidia-cosmos/cosmos-predict2.5/issues/160).
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from safetensors import SafetensorError, safe_open

from worldtune.errors import BaseError
from worldtune.files import digest_file, digest_json
from worldtune.worlds.catalog import KNOWN_BASES, KnownBase
from worldtune.worlds.world import World, WorldCard

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")


def open_world(source: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> World:
    """The base named `source`: "pocket", which the package ships, or a folder in diffusers' layout.

    The denoiser is read now, frozen and strictly; the codec and text encoder when first asked for.
    Raises BaseError when a part is missing, a tensor is missing, extra or of another shape.
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


def _load_denoiser(folder: Path, dtype: torch.dtype) -> CosmosTransformer3DModel:
    config = CosmosTransformer3DModel.load_config(folder / "transformer")
    with torch.device("meta"):
        expected = {
            name: tuple(t.shape) for name, t in CosmosTransformer3DModel.from_config(config).state_dict().items()
        }
    _compare(expected, _shapes_on_disk(folder / "transformer"), folder / "transformer")
    model = CosmosTransformer3DModel.from_pretrained(folder / "transformer", torch_dtype=dtype)
    return model.eval().requires_grad_(False)


def _shapes_on_disk(folder: Path) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise BaseError(f"a weight file cannot be read: {error}", where=str(path), mend="Copy it again.") from error
    return shapes


def _compare(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], where: Path) -> None:
    faults = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    faults += [f"{name} is unknown" for name in sorted(found.keys() - expected.keys())]
    faults += [
        f"{name} is {found[name]}, not {expected[name]}"
        for name in sorted(expected.keys() & found.keys())
        if expected[name] != found[name]
    ]
    if faults:
        raise BaseError(
            f"{len(faults)} tensors do not fit: {'; '.join(faults[:5])}",
            where=str(where),
            mend="Use the weights and config.json of one and the same model.",
        )


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
    return digest_json({name: tensor.float().cpu().numpy().tobytes().hex() for name, tensor in tensors.items()})


def _digest_folder(folder: Path) -> str:
    return digest_json({path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()})
