"""Canonical JSON for signatures and digests: sorted keys, no spaces, no unnecessary escapes."""

import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Return a JSON value in UTF-8. Raise ValueError for NaN, infinity and a lone surrogate."""
    return _dumped(value, allow_nan=False).encode()


def canonical_for_digest(value: Any) -> bytes:
    """Return the same bytes, but also accept NaN, infinity, and the lone surrogates of a file name."""
    return _dumped(value, allow_nan=True).encode(errors="surrogatepass")


def _dumped(value: Any, *, allow_nan: bool) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=allow_nan)
