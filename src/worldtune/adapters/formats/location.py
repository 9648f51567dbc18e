"""Find the adapter's weights in a folder, or in PEFT's subfolder of a named adapter."""

from pathlib import Path

from worldtune.adapters.formats.header import CONFIG
from worldtune.errors import AdapterError

_PICKLES = ("adapter_model.bin", "pytorch_lora_weights.bin")


def locate(path: Path) -> Path:
    """Return the file or folder that holds the adapter's weights.

    PEFT's `save_pretrained` writes an adapter not called "default" into a subfolder with its name. Raise AdapterError
    if there are several such subfolders.
    """
    if not path.is_dir():
        return path
    if (found := _weights(path)) is not None:
        return found
    named = sorted(folder for folder in path.iterdir() if (folder / CONFIG).is_file() and _weights(folder))
    if len(named) > 1:
        what = f"it holds {len(named)} adapters: {', '.join(folder.name for folder in named[:5])}"
        raise AdapterError(what, where=str(path), hint=f"Specify one of them, such as {named[0]}.")
    return _weights(named[0]) or path if named else path


def _weights(folder: Path) -> Path | None:
    if any(folder.glob("*.safetensors")):
        return folder
    return next((folder / name for name in _PICKLES if (folder / name).is_file()), None)
