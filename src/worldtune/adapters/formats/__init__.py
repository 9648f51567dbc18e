"""Adapter formats of other tools: diffusers, PEFT, NVIDIA's checkpoints, ComfyUI, Kohya and LyCORIS.

worldtune itself names modules as in diffusers' `CosmosTransformer3DModel`.
"""

from worldtune.adapters.formats.alpha import Alpha
from worldtune.adapters.formats.header import METADATA, Stated, header_config, stated_in
from worldtune.adapters.formats.names import Format
from worldtune.adapters.formats.read import ForeignAdapter, layers_from, read_layers
from worldtune.adapters.formats.write import config_of, ignored_by, name_layers, notes_for

__all__ = [
    "METADATA", "Alpha", "ForeignAdapter", "Format", "Stated", "config_of", "header_config", "ignored_by",
    "layers_from", "name_layers", "notes_for", "read_layers", "stated_in",
]  # fmt: skip
