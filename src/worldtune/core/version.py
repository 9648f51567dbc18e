"""The package's version, for all modules that write it."""

__version__ = "0.1.0"
