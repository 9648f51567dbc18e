"""Shared helpers of all packages: digests, atomic files, strict readers, safe text, statistics."""
