"""Pickles by hand: what no pickler would write."""

STOP = b"."


def put(text: str) -> bytes:
    """A text (SHORT_BINUNICODE)."""
    content = text.encode()
    return b"\x8c" + bytes([len(content)]) + content


def named(module: str, name: str) -> bytes:
    """A class or function by its name (STACK_GLOBAL)."""
    return put(module) + put(name) + b"\x93"
