"""A safetensors file whose header names a tensor twice, which JSON parsers hide.

Format: 8 bytes of little-endian length, JSON, then the tensors.
"""

import json
from pathlib import Path


def name_twice(path: Path, name: str) -> None:
    """Repeat the tensor `name` in the header of the file."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    twice = (json.dumps(header)[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}").encode()
    path.write_bytes(len(twice).to_bytes(8, "little") + twice + content[end:])
